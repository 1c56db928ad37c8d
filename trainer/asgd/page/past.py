"""The page of a run that has left no page.json: made from history.jsonl and summary.json, without lanes in detail.

Simulations leave no page, nor do runs of earlier versions. Workers' lives and all curves are there; what they did
within them is not known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgd.page import record
from asgd.page.about import about_folder
from asgd.page.events import Moment
from asgd.page.model import Model
from asgd.report import history as histories
from asgd.report import series, summary
from asgd.report.fields import taken
from asgd.report.history import History
from asgd.report.lines import End, Evaluation, Member, Progress, Run, Server
from asgd.report.points import points
from asgd.spec.status import Status


def state_of(folder: Path) -> dict[str, Any]:
    """What a run has left, as a page shows it. Raises UserError where `folder` holds no run."""
    told = record.read(folder)
    if told is not None:
        return told | {"over": True}
    history = histories.read(folder / "history.jsonl")
    return from_history(history, folder).snapshot()


def from_history(history: History, folder: Path) -> Model:
    """A model that has been told what stands in the files of `folder`."""
    first = histories.last_run(history)
    model = Model(about_folder(folder, first.job if first else folder.name, simulated=_simulated(history)))
    _curves(model, history)
    model.moments = list(_moments(history))
    model.lives = _lives(history)
    model.status = _status(history, folder)
    model.t, model.over = series.duration(history), True
    return model


def _simulated(history: History) -> bool:
    return any(isinstance(line, Run) and line.simulated for line in history.lines)


def _curves(model: Model, history: History) -> None:
    for line in history.lines:
        if isinstance(line, Progress):
            row = {
                "t": line.t, "seconds": line.t, "updates": line.updates, "samples": line.samples,
                "bytes": line.bytes_sent + line.bytes_received, "loss": line.loss,
                "rate": line.samples_per_second, "staleness": line.staleness.mean, "workers": line.workers,
            }  # fmt: skip
            model.columns.add(row | {f"scalar.{name}": value for name, value in line.scalars.items()})
    model.evaluations = [
        {"t": p.t, "updates": p.updates, "samples": p.samples, "bytes": p.bytes, "metrics": p.metrics}
        for p in points(history)
    ]


def _moments(history: History) -> list[Moment]:
    found: list[Moment] = []
    for line in history.lines:
        if isinstance(line, Member):
            text = f"worker {line.worker} {'was ' if line.event in ('lost', 'hung') else ''}{line.event}"
            found.append({"t": line.t, "kind": line.event, "worker": line.worker, "text": text})
        elif isinstance(line, Server):
            text = f"shard {line.shard} came back, term {line.term}"
            found.append({"t": line.t, "kind": "term", "shard": line.shard, "text": text})
        elif isinstance(line, End):
            found.append({"t": line.t, "kind": "phase", "text": f"the job is finished: {line.stop_reason}"})
    return found[-600:]


def _lives(history: History) -> dict[int, list[list[Any]]]:
    found: dict[int, list[list[Any]]] = {}
    for band in series.bands(history):
        ended = None if band.fate == "running" else band.end
        lives = found.setdefault(band.worker, [])
        lives.append([len(lives), band.start, ended, band.fate])
    return found


def _status(history: History, folder: Path) -> Status:
    histogram = series.histogram(history)
    if (folder / "summary.json").exists():
        told = summary.read(folder / "summary.json")
        return taken(
            Status, told, phase="finished", staleness_histogram=histogram, ever_rejected=told.rejected_workers,
            workers=[], shards=[],
        )  # fmt: skip
    run = histories.last_run(history)
    progress = [line for line in history.lines if isinstance(line, Progress)]
    evaluations = [line for line in history.lines if isinstance(line, Evaluation)]
    newest = progress[-1] if progress else Progress(t=0.0)
    return Status(
        job=run.job if run else folder.name, algorithm=run.algorithm if run else "", phase="running",
        updates=newest.updates, samples=newest.samples, epochs=newest.epochs, seconds=newest.t,
        samples_per_second=newest.samples_per_second, loss=newest.loss, staleness=newest.staleness,
        bytes_sent=newest.bytes_sent, bytes_received=newest.bytes_received, staleness_histogram=histogram,
        metrics=evaluations[-1].metrics if evaluations else {}, lost_updates=newest.lost_updates,
    )  # fmt: skip
