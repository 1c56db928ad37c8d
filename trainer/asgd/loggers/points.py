"""From lines of history.jsonl to points of series: the same names in every logger, over the job's updates. Pure.

Series are over updates because evaluations are; `train/samples` and `train/epochs` are series themselves, to plot
others over. A job may go back (a server lost updates, a rollback, a resumed run): then points above are void.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asgd.report.lines import AnyLine, Evaluation, Progress


@dataclass(frozen=True, slots=True)
class Point:
    """Values of several series at one count of updates. `t`: seconds of the history."""

    updates: int
    values: dict[str, float]
    t: float = 0.0


@dataclass(frozen=True, slots=True)
class Back:
    """The job goes on from so many updates: points above them are of work that is undone."""

    updates: int


class Points:
    """Takes the lines of a history in their order. `updates`, `evaluated`: of the newest ones that were taken before;
    `metrics`: what was measured then."""

    def __init__(
        self, updates: int = -1, evaluated: int = -1, metrics: Mapping[str, float] | None = None
    ) -> None:
        self.updates, self.evaluated, self.metrics = updates, evaluated, dict(metrics or {})

    def take(self, line: AnyLine) -> Iterator[Point | Back]:
        """What `line` brings; nothing where it is of no more updates than the one of its kind before.

        NB: a resumed run tells the evaluations of its checkpoint again. The final one may be of weights that were
        measured already, with other buffers: other metrics are told.
        """
        if isinstance(line, Evaluation):
            metrics = _finite({f"evaluation/{name}": value for name, value in line.metrics.items()})
            again = line.updates < self.evaluated or (
                line.updates == self.evaluated and metrics == self.metrics
            )
            if metrics and not again:
                self.evaluated, self.metrics = line.updates, metrics
                yield Point(line.updates, metrics, line.t)
        elif isinstance(line, Progress) and line.updates != self.updates:
            if line.updates < self.updates:
                self.evaluated = min(self.evaluated, line.updates - 1)
                yield Back(line.updates - 1)
            self.updates = line.updates
            yield Point(line.updates, _finite(_of_progress(line)), line.t)


def _of_progress(line: Progress) -> dict[str, float | None]:
    return {
        "train/loss": line.loss,
        "train/samples": line.samples,
        "train/epochs": line.epochs,
        "train/workers": line.workers,
        "speed/samples_per_second": line.samples_per_second,
        "speed/updates_per_second": line.updates_per_second,
        "pushes/staleness_mean": line.staleness.mean,
        "pushes/staleness_p99": line.staleness.p99,
        "pushes/refused": line.refused,
        "pushes/lost_updates": line.lost_updates,
    }


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)
    }
