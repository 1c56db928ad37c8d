"""What a run leaves behind: summary.json, curves.png, model.safetensors, and the closing lines a person reads."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from msgspec.structs import replace
from safetensors.numpy import load_file, save_file

from asgd.drivers.output import Output
from asgd.errors import UserError
from asgd.record import run as recording
from asgd.report import curves, summary
from asgd.report import history as histories
from asgd.report.files import write_atomic
from asgd.server.saves.store import Store, assemble
from asgd.spec import Job
from asgd.spec.status import Status
from asgd.worker.task.check import Findings


@dataclass(frozen=True, slots=True)
class _Saved:
    """The model that was saved: whose weights these are."""

    updates: int | None = None
    save: int = 0
    sha256: str = ""


class Picture:
    """curves.png, drawn in a thread while the processes of a run end."""

    def __init__(self, output: Output, title: str) -> None:
        self._target = output.file("curves.png")
        pool = ThreadPoolExecutor(1, "curves")
        self._drawn = pool.submit(lambda: curves.render(histories.read(output.file("history.jsonl")), title))
        pool.shutdown(wait=False)

    def write(self) -> None:
        """Raises OSError."""
        write_atomic(self._target, self._drawn.result())


def leave_files(
    job: Job, status: Status, output: Output, checkpoint_uri: str, findings: Findings,
    picture: Picture | None, obstacle: str,
) -> str:  # fmt: skip
    """Writes the files and prints the closing lines; returns why the final weights are not among them, or ''.

    `obstacle` says why the run can't be replayed, if it can't; without an update there is no `picture`.
    """
    told = summary.summarize(status, job.spec)
    # NB: what comes next may fail on a full disk; the figures are there then.
    summary.write(told, output.file("summary.json"))
    if picture:
        picture.write()
    # NB: also of a job that diverged: weights that looked ruined were never saved.
    saved = _save_model(output, checkpoint_uri, findings)
    shards = job.spec.parameter_server.shards
    obstacle = obstacle or recording.seal(output.recording, shards, saved.save, saved.sha256)
    told = replace(told, replayable=not obstacle, not_replayable=obstacle, weights_sha256=saved.sha256)
    summary.write(told, output.file("summary.json"))
    for line in summary.describe(told, output.folder):
        print(line)
    if status.stop_reason == "diverged" and saved.updates is not None:
        print(f"model      of update {saved.updates:,}, the newest checkpoint from before it diverged")
    sys.stdout.flush()
    if status.stop_reason == "diverged" or not status.checkpoint_error or saved.updates == status.updates:
        return ""
    left = (
        "there is no model.safetensors"
        if saved.updates is None
        else f"model.safetensors is of update {saved.updates:,}"
    )
    return f"the weights of update {status.updates:,} are lost, {left}: {status.checkpoint_error}"


def _save_model(output: Output, checkpoint_uri: str, findings: Findings) -> _Saved:
    """Writes the newest checkpoint's model, if there is a checkpoint.

    Parameters stand under all their names, with the evaluator's extras; `lacks` in the metadata names the rest.
    """
    try:
        store = Store(checkpoint_uri)
    except UserError:  # it could be written when the run began: the servers have said what became of it
        return _Saved()
    newest = store.newest()
    if newest is None:
        return _Saved()
    tensors = assemble(store.fs, store.path(f"{newest.save:06d}"), newest)
    sha256 = recording.weights_hash(tensors.values())
    tensors |= {second: tensors[name].copy() for second, name in findings.aliases.items() if name in tensors}
    if output.extras.exists():
        tensors |= load_file(output.extras)
        output.extras.unlink()
    lacks = ", ".join(name for name in findings.extras if name not in tensors)
    if findings.script:
        lacks = "buffers and frozen parameters, if the script's model has any"
    partial = output.file("model.safetensors.partial")
    save_file(tensors, partial, metadata={"updates": str(newest.updates), "job": newest.job, "lacks": lacks})
    partial.replace(output.file("model.safetensors"))
    return _Saved(newest.updates, newest.save, sha256)
