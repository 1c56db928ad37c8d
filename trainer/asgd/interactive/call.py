"""`asgd.run`, `asgd.simulate` and `asgd.replay`: the command line's three ways to train, called from Python.

What is wrong with names and values is told before anything starts, by the command line's own sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from asgd.errors import AsgdError, RunFailed, UserError
from asgd.host.private import private_folder
from asgd.interactive.fields import options_of
from asgd.interactive.launched import Launched
from asgd.interactive.notebook import in_notebooks
from asgd.interactive.ordering import order_of, refuse_inside_a_run
from asgd.interactive.protocol import Order
from asgd.interactive.run import Run

_CLUSTER = (
    "compute", "calibrate", "straggler", "latency", "bandwidth", "server_speed", "nodes", "death", "pause", "hang",
    "attack", "join",
)  # fmt: skip
"""The options of `asgd simulate`."""
_MOST_WORKERS = 64
"""Above it `workers.maxReplicas` has to be raised as well."""
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Replayed(Struct, frozen=True, rename="camel"):
    """What `asgd.replay` found."""

    equal: bool | None
    """Whether the final weights are the run's, bit by bit; None where there is nothing to compare."""
    updates: int
    versions: list[int]
    """Of each shard."""
    weights_sha256: str
    recorded_sha256: str
    difference: str
    """The first push that differs from the run's, or ''."""


def _in_one_sentence(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Errors on purpose come without the frames that led to them, which are of no use to who calls."""

    @wraps(function)
    def called(*args: _Given.args, **keywords: _Given.kwargs) -> _Result:
        __tracebackhide__ = True  # for pytest
        try:
            return function(*args, **keywords)
        except AsgdError as error:
            # What IPython asks for before it prints a traceback.
            error._render_traceback_ = partial(in_notebooks, error)  # type: ignore[attr-defined]
            raise error.with_traceback(None) from None

    return called


@_in_one_sentence
def run(
    task_or_job: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
    wait: bool = True,
    quiet: bool = False,
    transport: Literal["ipc", "tcp"] = "ipc",
    **fields: Any,
) -> Run:
    """Trains on this machine, as `asgd run` does, and returns the `asgd.Run`.

    task_or_job  a function that returns an `asgd.Task` (or the Task itself), the path of a job's YAML, or a mapping:
                 a job or its spec
    output       folder for the results; the next free runs/NAME if not given
    set          {"optimizer.learningRate": 0.1}: fields by their paths, as `--set`
    name         of the job; the function's if not given
    wait         shows the run and returns at its end; else it goes on in the background, for as long as this process
    quiet        shows only what matters, and the end
    fields       of the spec, in snake_case: batch_size=32, seed=1, args={...}, stop_after={...}; and the short names
                 workers, shards, epochs, updates, learning_rate, algorithm and optimizer

    Raises UserError for a wrong name or value, and RunFailed when the run ends otherwise than well.
    """
    if transport not in ("ipc", "tcp"):
        raise UserError(f"transport: {transport!r} is not one of ipc, tcp")
    order = order_of("run", task_or_job, fields, set, name)
    order.transport = transport
    return _started(order, output, wait=wait, quiet=quiet)


@_in_one_sentence
def simulate(
    task_or_job: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
    wait: bool = True,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Trains in virtual time, as `asgd simulate` does, and returns the `asgd.Run`; arguments are those of `asgd.run`.

    The cluster is described by the command line's options: compute="constant:0.1", straggler=["0:4"], latency=0.001,
    bandwidth="125M", server_speed, nodes, death, pause, hang, attack, join, calibrate=DIR.
    """
    cluster = {key: fields.pop(key) for key in _CLUSTER if key in fields}
    workers = fields.get("workers")
    if isinstance(workers, int) and workers > _MOST_WORKERS:
        set = {"workers.maxReplicas": workers, **(set or {})}
    order = order_of("simulate", task_or_job, fields, set, name)
    order.options = [*options_of({key: value for key, value in cluster.items() if value is not None})]
    return _started(order, output, wait=wait, quiet=quiet)


@_in_one_sentence
def replay(
    run_or_folder: Run | str | os.PathLike[str], *, until: int | None = None, dump: str | None = None
) -> Replayed:
    """Executes a recorded run again, as `asgd replay` does; `equal` says whether it came to the same bits.

    until  ends after this update; dump  writes the weights to a safetensors file. Raises RunFailed for a folder that
    cannot be replayed.
    """
    refuse_inside_a_run()
    run: Run | None = None
    folder: Path | None
    if isinstance(run_or_folder, Run):
        run, folder = run_or_folder, run_or_folder.output
    else:
        folder = Path(run_or_folder)
    if folder is None:
        raise UserError(f"{run!r} has no folder: it has not begun")
    launched = Launched(
        Order("replay", str(private_folder()), folder=str(folder.absolute()), until=until, dump=dump)
    )
    try:
        launched.join()
    except KeyboardInterrupt:
        launched.interrupt()
        raise
    assert launched.ended is not None
    if not launched.ended.result:
        raise RunFailed(launched.ended.sentence or "the replay was interrupted", launched.ended.code, run)
    return msgspec.convert(launched.ended.result, Replayed)


def _started(order: Order, output: str | os.PathLike[str] | None, *, wait: bool, quiet: bool) -> Run:
    order.output = None if output is None else os.fspath(output)
    name, code = order.job["metadata"]["name"], Path(order.folder)
    run = Run(name, launched=Launched(order), code=code, quiet=quiet)
    return run.wait() if wait else run
