"""What a run leaves behind: summary.json, curves.png, model.safetensors, and the closing lines a person reads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from msgspec.structs import replace

from asgd.drivers.best_model import export_best
from asgd.drivers.model_file import write_model
from asgd.drivers.output import Output
from asgd.errors import TryAgain, UserError
from asgd.kernel import F32
from asgd.record import run as recording
from asgd.report import curves, summary
from asgd.report import history as histories
from asgd.report.files import write_atomic
from asgd.server.average import NAME
from asgd.server.manifest import Manifest
from asgd.server.saves.choosing import Found, take
from asgd.server.saves.reading import array_names, assemble
from asgd.server.saves.store import Store
from asgd.spec import Job
from asgd.spec.status import Status
from asgd.worker import left
from asgd.worker.task.check import Findings


@dataclass(frozen=True, slots=True)
class _Saved:
    """The model that was saved: whose weights these are."""

    updates: int | None = None
    save: int = 0
    sha256: str = ""
    trouble: str = ""
    """Why it is not the newest checkpoint's."""
    lacks: str = ""
    """What of the model's state nobody has left."""
    statistics: bool = False
    """Running means of batch norm are in it."""


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
    """Writes the files and prints the closing lines; returns what of them is missing and why, or ''.

    `obstacle` says why the run can't be replayed, if it can't; without an update there is no `picture`.
    """
    told, missing = summary.summarize(status, job.spec, findings.kinds), dict[str, str]()
    _attempt("summary.json", lambda: summary.write(told, output.file("summary.json")), missing)
    if picture:
        _attempt("curves.png", picture.write, missing)
    # NB: also of a job that diverged: weights that looked ruined were never saved.
    saved = _save_model(output, checkpoint_uri, findings, job.spec.buffers, status.rejected_workers)
    if status.best and (trouble := export_best(output, checkpoint_uri)):
        missing["model-best.safetensors"] = trouble
    shards = job.spec.parameter_server.shards
    obstacle = recording.seal(output.recording, shards, saved.save, saved.sha256, obstacle)
    whole = replace(told, replayable=not obstacle, not_replayable=obstacle, weights_sha256=saved.sha256)
    _attempt("summary.json", lambda: summary.write(whole, output.file("summary.json")), missing)
    for line in summary.describe(whole, output.folder):
        print(line)
    if status.stop_reason == "diverged" and saved.updates is not None:
        # NB: nobody has the statistics of that update, and those of the end look like any others.
        but = "; its batch norm's statistics are of the end: estimate them anew" if saved.statistics else ""
        print(f"model      of update {saved.updates:,}, the newest checkpoint from before it diverged{but}")
    if saved.lacks:
        print(f"lacks      model.safetensors has no {saved.lacks}")
    sys.stdout.flush()
    trouble = status.checkpoint_error or saved.trouble
    if status.stop_reason == "diverged" or not trouble or saved.updates == status.updates:
        why = "; ".join(f"{name}: {why}" for name, why in missing.items())
        return f"not all files in {output.folder} were written: {why}" if missing else ""
    left = (
        "there is no model.safetensors"
        if saved.updates is None
        else f"model.safetensors is of update {saved.updates:,}"
    )
    return f"the weights of update {status.updates:,} are lost, {left}: {trouble}"


def _attempt(name: str, write: Callable[[], None], missing: dict[str, str]) -> None:
    """What a full disk has no room for is noted under its name, and the rest tried all the same."""
    missing.pop(name, None)
    try:
        write()
    except OSError as error:
        missing[name] = error.strerror or str(error)


def _save_model(
    output: Output, checkpoint_uri: str, findings: Findings, buffers: str, rejected: list[int]
) -> _Saved:
    """Writes the newest checkpoint's model, and the moving average where there is one, if there is a checkpoint.

    Parameters stand under all their names, with what processes left of the model's other state; `lacks` in the
    metadata names what nobody left.
    """
    skipped: list[str] = []

    def read(found: Found) -> tuple[Manifest, dict[str, F32], dict[str, F32] | None]:
        return found[2], assemble(*found), assemble(*found, NAME) if NAME in array_names(*found) else None

    try:
        taken = take(Store(checkpoint_uri), "Latest", "", read, skipped.append)
    except (UserError, TryAgain) as error:  # the store could be written when the run began
        return _Saved(trouble=str(error))
    if taken is None:
        return _Saved()
    newest, tensors, average = taken
    sha256 = recording.weights_hash(tensors.values())
    found = left.gather(output.extras, buffers, rejected)
    models = {"model": (tensors, found.tensors)}
    if average:
        models["model-ema"] = average, found.tensors | left.of_model(output.extras, average=True)
    left.sweep(output.extras)
    lacks = ""
    try:
        for name, (parameters, others) in models.items():
            lacks = _write(output, name, newest, parameters, others, findings, found)
    except OSError as error:
        return _Saved(save=newest.save, sha256=sha256, trouble=str(error))
    statistics = any(name.endswith("running_mean") for name in found.tensors)
    return _Saved(newest.updates, newest.save, sha256, "; ".join(skipped), lacks, statistics)


def _write(
    output: Output, name: str, save: Manifest, parameters: dict[str, F32], others: left.Tensors, findings: Findings,
    found: left.Left,
) -> str:  # fmt: skip
    """Writes one model file; returns what it lacks. Raises OSError."""
    tensors: left.Tensors = {**parameters}
    aliases = findings.aliases | found.aliases
    tensors |= {second: tensors[first].copy() for second, first in aliases.items() if first in tensors}
    tensors |= {name: tensor for name, tensor in others.items() if name not in tensors}
    lacks = ", ".join(name for name in found.names or findings.extras if name not in tensors)
    if findings.script and found.names is None:
        lacks = "buffers and frozen parameters, if the script's model has any"
    about = found.about | {"updates": str(save.updates), "job": save.job, "lacks": lacks}
    write_model(output.file(f"{name}.safetensors"), tensors, about)
    return lacks
