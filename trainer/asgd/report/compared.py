"""Runs and simulations as `asgd report` compares them: read from their folders, one row of figures each.

A run that is still going on has no summary yet; its figures are those of its newest lines. What a folder lacks is
told in one sentence.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from asgd.errors import UserError
from asgd.report import goal as goals
from asgd.report import history as histories
from asgd.report import series, summary
from asgd.report.fields import taken
from asgd.report.goal import Goal
from asgd.report.history import History
from asgd.report.labels import Named, labels
from asgd.report.lines import End, Progress
from asgd.report.points import Point, points, total_bytes
from asgd.report.summary import Summary
from asgd.spec.status import StalenessView

_SILENT_SECONDS = 30.0
"""A run writes a line a second: one that was silent for so long has been killed."""


class Compared(Struct, frozen=True, kw_only=True):
    """One run; `label` is unique on the page. Rates are averages over the whole run."""

    label: str
    folder: str
    history: History
    points: list[Point]
    job: str
    algorithm: str
    workers: int
    shards: int
    seed: int
    updates: int
    samples: int
    seconds: float
    bytes: float
    loss: float | None
    metrics: dict[str, float | None]
    staleness: StalenessView
    lost_updates: int
    stopped: str
    """The stop reason; `still running`, or `cut off` for one that was killed."""
    simulated: bool

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    @property
    def updates_per_second(self) -> float:
        return self.updates / self.seconds if self.seconds > 0 else 0.0


def load(folders: Sequence[str]) -> list[Compared]:
    """The runs of `folders`, each folder once, in their order. Raises UserError for a folder that holds no run."""
    paths = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    found = [_load(path) for path in paths]
    names = labels([taken(Named, run) for run in found])
    return [msgspec.structs.replace(run, label=name) for run, name in zip(found, names, strict=True)]


def _load(folder: Path) -> Compared:
    path = folder / "history.jsonl"
    if not path.is_file():
        what = "is no run: it holds no history.jsonl" if folder.is_dir() else "is no folder"
        raise UserError(f"report: {folder} {what}; name folders that asgd run or asgd simulate wrote to")
    history = histories.read(path)
    over = bool(history.lines) and isinstance(history.lines[-1], End)
    told = summary.read(folder / "summary.json") if (folder / "summary.json").exists() else None
    if told is not None and over:
        return _finished(folder, history, told)
    silent = time.time() - path.stat().st_mtime > _SILENT_SECONDS
    return _unfinished(folder, history, "cut off" if over or silent else "still running")


def _finished(folder: Path, history: History, told: Summary) -> Compared:
    return taken(
        Compared, told, label="", folder=str(folder), history=history, points=points(history),
        bytes=max(total_bytes(history), float(told.bytes_sent + told.bytes_received)),
        stopped=told.stop_reason or "ended", simulated=_simulated(history),
    )  # fmt: skip


def _unfinished(folder: Path, history: History, stopped: str) -> Compared:
    run = histories.last_run(history)
    last = next((line for line in reversed(history.lines) if isinstance(line, Progress)), Progress(0.0))
    measured = points(history)
    spec = _spec(folder / "job.yaml")
    return taken(
        Compared, last, label="", folder=str(folder), history=history, points=measured,
        job=run.job if run else "", algorithm=run.algorithm if run else "",
        workers=int(spec.get("workers", {}).get("replicas", last.workers)),
        shards=int(spec.get("parameterServer", {}).get("shards", 1)), seed=int(spec.get("seed", 0)),
        seconds=series.duration(history), bytes=total_bytes(history),
        metrics=measured[-1].metrics if measured else {}, stopped=stopped, simulated=_simulated(history),
    )  # fmt: skip


def _simulated(history: History) -> bool:
    run = histories.last_run(history)
    return run is not None and run.simulated


def _spec(path: Path) -> dict[str, Any]:
    """The spec of the job as run, with all defaults; empty when the file is not there yet or cut."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return dict(document["spec"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return {}


def common_goal(runs: Sequence[Compared], target: Goal | None) -> Goal | None:
    """`target`, or the best value of the metric that most runs have; None when no run was evaluated.

    Raises UserError when no run has the target's metric.
    """
    names = [name for run in runs for name in series.metric_names(run.history)]
    if target is not None:
        if target.name not in names and names:
            raise UserError(
                f"--target: no run has a metric {target.name!r}; there are {', '.join(dict.fromkeys(names))}"
            )
        return target
    # The first of the most common ones: metric_names puts that of the stop rule first.
    return goals.best(max(dict.fromkeys(names), key=names.count)) if names else None
