"""What can be known to be wrong before any process starts: ports that are taken, a checkpoint of another model.

The servers would find out as well, but by then others run; one sentence and nothing to clean up is kinder.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import msgspec

from asgd.algorithms.registry import halves
from asgd.drivers.output import Output
from asgd.errors import UserError
from asgd.host.locks import Busy, FolderLock
from asgd.server.saves.choosing import prove_found, take
from asgd.server.saves.reading import array_names
from asgd.server.saves.store import Store
from asgd.spec import Job
from asgd.wire.agreement import layout_difference
from asgd.worker import left
from asgd.worker.task.check import Findings


def check_ports(job: Job) -> None:
    """The ports from `metrics.port` on, where the user asked for one, must be free. Raises UserError."""
    if "metrics.port" not in job.given:
        return
    first = job.spec.metrics.port
    for port in range(first, first + job.spec.parameter_server.shards + job.spec.workers.replicas + 1):
        with socket.socket() as probe_socket:
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe_socket.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", "") or str(error)
                raise UserError(
                    f"spec.metrics.port: {port} cannot be used on this machine ({reason}); each process takes one"
                    f" from {first} on; leave it out for any free ones"
                ) from error


def check_optimizer(job: Job, findings: Findings) -> None:
    """A task's own optimizer leaves nothing to say to spec.optimizer but schedule and clipNorm. Raises UserError."""
    if not findings.own_optimizer:
        return
    for path in sorted(job.given):
        first, _, rest = path.partition(".")
        name = rest.partition(".")[0]
        if first == "optimizer" and name and name not in ("schedule", "clipNorm"):
            raise UserError(
                f"spec.optimizer.{name} stands beside Task.optimizer, whose own settings count; allowed beside it:"
                " schedule, a factor on its learning rate, and clipNorm"
            )


def lock_store(uri: str) -> list[FolderLock]:
    """Keeps other runs on this machine out of a checkpoint store in a folder. Raises UserError while one goes on."""
    store = Store(uri)
    if not store.local:
        return []
    try:
        return [FolderLock.take(Path(store.root))]
    except Busy as busy:
        raise UserError(
            f"spec.checkpoint.uri: {uri}: a run that writes there is going on ({busy}); wait for its end, or choose"
            " another place"
        ) from None
    except OSError as error:
        raise UserError(f"spec.checkpoint.uri: {uri!r} cannot be written: {error.strerror}") from error


def optimizer_states(uri: str, output: Output) -> Path:
    """Where workers keep what their own optimizers remember: beside the checkpoints, if those are in a folder."""
    store = Store(uri)
    return Path(store.root) / "optimizers" if store.local else output.file("optimizers")


def take_up(restored: bool, uri: str, output: Output) -> None:
    """A run that was `restored` goes on with what the one before it has left; one that was not has nothing of it."""
    if restored:
        left.keep_earlier(output.file("model.safetensors"), output.extras)
    else:
        rmtree(optimizer_states(uri, output), ignore_errors=True)


def check_checkpoint(job: Job, findings: Findings, uri: str, run: str, note: Callable[[str], None]) -> bool:
    """Whether this `run` begins from a checkpoint, which must fit the model and the optimizer. Raises UserError.

    `note` is told which checkpoints are skipped because they are damaged.
    """
    found = take(Store(uri), job.spec.checkpoint.restore, run, prove_found, note)
    if found is None:
        return False
    fs, folder, manifest = found
    allowed = "another output, checkpoint.uri or checkpoint.restore"
    if findings.layout and manifest.layout != findings.layout:
        saved, built = (msgspec.json.encode(tensors) for tensors in (manifest.tensors, findings.tensors))
        how = layout_difference(saved, built).replace("this job's model", "the checkpoint")
        raise UserError(
            f"spec.checkpoint.restore: {folder} holds a model of {manifest.size:,} parameters, but"
            f" {job.spec.entrypoint} gives one of {findings.size:,}: {how}; allowed: the same model, or {allowed}"
        )
    name = str(job.spec.algorithm["name"])
    needed = {"weights", *halves(job.spec).server().slots}
    if lacks := needed - array_names(fs, folder, manifest):
        raise UserError(
            f"spec.checkpoint.restore: {folder} was made by {manifest.algorithm} with another optimizer: it has no"
            f" {', '.join(sorted(lacks))}, which {name} with {job.spec.optimizer.name} needs; allowed: the same"
            f" algorithm and optimizer, or {allowed}"
        )
    return True
