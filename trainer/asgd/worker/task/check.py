"""Looks at the user's code before anything starts: imports the entrypoint, builds the task, tries a batch of it.

Runs as a process of its own, since it needs torch and the parent must not; answers with one JSON file.
"""

from __future__ import annotations

import ast
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.spec.groups import assigned
from asgd.spec.types import JobSpec


class Findings(Struct):
    """What the user's code is. A script joins by itself when it runs, so that little is known of one."""

    script: bool = False
    layout: str = ""
    tensors: list[tuple[str, list[int]]] = []
    """Name and shape of each trained parameter, in flat order."""
    kinds: dict[str, int] = {}
    """{type: trained parameters of that type} of the model in a worker."""
    own_optimizer: bool = False
    """The task has an optimizer of its own, which steps in the workers."""
    size: int = 0
    dataset: int | None = None
    guarantee: str = ""
    evaluates: bool = False
    extras: list[str] = []
    """Names in the model's state_dict that are no trained parameters: buffers, frozen ones."""
    aliases: dict[str, str] = {}
    """{second name of a tied parameter: its name in the layout}"""
    warnings: list[str] = []
    """What is allowed but costs much, a sentence each."""
    untried: str = ""
    """What took too long to be tried before the start."""


def findings_of(code: int, answer: Path, log: Path) -> Findings:
    """What the check has found: it ended with `code`, wrote `answer` and printed `log`.

    Raises UserError with the check's own sentence.
    """
    if code == 0:
        return msgspec.json.decode(answer.read_bytes(), type=Findings)
    said = (log.read_text(encoding="utf-8", errors="replace").strip() or "no message").splitlines()[-1]
    if code == UserError.exit_code:
        raise UserError(said.removeprefix("asgd: "))
    raise UserError(f"spec.entrypoint: looking at it ended with {code}: {said}")


def look(
    spec: JobSpec, tell: Callable[[Findings], None] = lambda findings: None, document: Any = None
) -> Findings:
    """Builds the task here, tries and describes it, or reads the script. Raises UserError.

    When a trial takes too long, `tell` gets what was found, and this process ends. `document`: the job's.
    """
    from asgd.algorithms.registry import halves
    from asgd.spec.evaluators import is_script
    from asgd.worker.compute import refuse_stages_of_script
    from asgd.worker.device.accelerator import choose_devices

    halves(spec)
    choose_devices(spec.workers.devices.count, 0)
    if is_script(spec.entrypoint):
        refuse_stages_of_script(spec)
        return _look_at_script(spec)
    from asgd.server.evaluations import wanted_metrics
    from asgd.worker.device.extras import aliases, rest
    from asgd.worker.device.flat import kinds, layout_hash, layout_of
    from asgd.worker.device.tables import warnings
    from asgd.worker.optimizing.of_task import rule_of
    from asgd.worker.reading.data import dataset_size, guarantee
    from asgd.worker.task.build import build_task
    from asgd.worker.task.calling import silent
    from asgd.worker.task.probing import take_probe
    from asgd.worker.task.trial import refuse_empty, try_out

    task = build_task(spec)
    rule_of(task, spec, document)
    refuse_empty(task.model, spec.entrypoint)
    layout = layout_of(task.model)
    assigned(spec.optimizer, [name for name, _ in layout])
    take_probe(task, spec)
    dataset = dataset_size(task, spec.entrypoint)
    if dataset is None:
        _refuse_epochs(spec, "this entrypoint's data is a stream")
    if task.evaluate is None:
        for field in wanted_metrics(spec):
            name = field.rpartition(".")[0]
            raise UserError(f"spec.{name}: {spec.entrypoint} returns a Task without `evaluate`")
    findings = Findings(
        layout=layout_hash(layout),
        tensors=layout,
        kinds=kinds(task.model),
        own_optimizer=task.optimizer is not None,
        size=sum(math.prod(shape) for _, shape in layout),
        dataset=dataset,
        guarantee=guarantee(task),
        evaluates=task.evaluate is not None,
        extras=sorted(rest(task.model, {name for name, _ in layout})),
        aliases=aliases(task.model),
        warnings=[*warnings(task.model), *silent(task)],
    )

    def let_go(what: str) -> NoReturn:
        tell(msgspec.structs.replace(findings, untried=what))
        os._exit(0)

    try_out(task, spec, let_go)
    return findings


def _look_at_script(spec: JobSpec) -> Findings:
    """A script is only read: running it would train."""
    from asgd.worker.task.entrypoint import expose, find_file
    from asgd.worker.task.unconnected import refuse_unconnected
    from asgd.worker.users_code import sentence

    folders = expose(spec)
    path = find_file(spec.entrypoint, folders)
    try:
        source = path.read_bytes()
        compile(source, str(path), "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} is no Python script: {sentence(error)}"
        ) from error
    refuse_unconnected(spec.entrypoint, ast.parse(source), [*folders, path.parent])
    return Findings(script=True)


def _refuse_epochs(spec: JobSpec, why: str) -> None:
    """Epochs can be counted only over data of a known size."""
    schedule = spec.optimizer.schedule
    for name, rhythm in (("evaluation", spec.evaluation), ("checkpoint", spec.checkpoint)):
        if rhythm.every_epochs is not None:
            raise UserError(
                f"spec.{name}.everyEpochs: {rhythm.every_epochs:g} needs data of a known size, and {why}; allowed here:"
                " everyUpdates, everySeconds"
            )
    if spec.stop_after.epochs is not None:
        raise UserError(
            f"spec.stopAfter.epochs: {spec.stop_after.epochs:g}, which is also what an absent stopAfter means, needs"
            f" data of a known size, and {why}; allowed here: updates, samples, seconds, metric"
        )
    if schedule.unit == "epochs" and (schedule.name != "constant" or schedule.warmup):
        raise UserError(
            f"spec.optimizer.schedule.unit: epochs needs data of a known size, and {why}; allowed here: samples"
        )


def main() -> int:
    """Looks at the job in argv[1] and writes findings to argv[2]."""
    from asgd.host.orphans import end_with_parent
    from asgd.spec import job_from_json

    end_with_parent()

    def tell(findings: Findings) -> None:
        Path(sys.argv[2]).write_bytes(msgspec.json.encode(findings))

    try:
        job = job_from_json(Path(sys.argv[1]).read_bytes())
        tell(look(job.spec, tell, job.document))
    except UserError as error:
        print(f"asgd: {error}", file=sys.stderr)
        return UserError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
