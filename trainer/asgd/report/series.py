"""Lines of a history shaped into what a picture shows: curves, bands, marks and one histogram. Pure.

One run on a page or several share these functions. Curves are cut (a NaN between) where a run resumed, since
its samples may go back to the last checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

from msgspec import Struct

from asgd.report.history import History
from asgd.report.lines import Evaluation, Histogram, Member, Progress, Run, Server
from asgd.spec.types import Metric

_ENDS = {"left", "lost", "hung"}
Kind = TypeVar("Kind", Progress, Evaluation)


class Curve(Struct, frozen=True):
    """Points in the order of the file; NaN in both where the line is cut, in `y` where there is no value."""

    x: list[float]
    y: list[float]

    def __bool__(self) -> bool:
        return any(math.isfinite(value) for value in self.y)


class Band(Struct, frozen=True):
    """One life of a worker, in seconds from joining to its end. `fate`: left, lost, hung or running (no end)."""

    worker: int
    start: float
    end: float
    fate: str


class Mark(Struct, frozen=True):
    """A moment worth a line in the picture."""

    t: float
    what: str
    """server | resumed"""


def by_time(line: Progress | Evaluation) -> float:
    """Seconds."""
    return line.t


def by_samples(line: Progress | Evaluation) -> float:
    """Samples, all workers together."""
    return float(line.samples)


def loss(history: History, x: Callable[[Progress], float]) -> Curve:
    """Training loss as the workers report it, against `x` (`by_time`, `by_samples`)."""
    return _curve(history, Progress, x, lambda line: line.loss)


def scalars(history: History, x: Callable[[Progress], float]) -> dict[str, Curve]:
    """{name: what the loss function returns beside the loss} against `x`, as the names first came."""
    names = {name: None for line in history.lines if isinstance(line, Progress) for name in line.scalars}
    return {name: _curve(history, Progress, x, _scalar(name)) for name in names}


def _scalar(name: str) -> Callable[[Progress], float | None]:
    return lambda line: line.scalars.get(name)


def throughput(history: History) -> Curve:
    """Samples a second of all workers together, against time."""
    return _curve(history, Progress, by_time, lambda line: line.samples_per_second)


def metric(history: History, name: str, x: Callable[[Evaluation], float]) -> Curve:
    """The evaluations of one metric against `x`."""
    return _curve(history, Evaluation, x, lambda line: line.metrics.get(name))


def _curve(
    history: History, kind: type[Kind], x: Callable[[Kind], float], y: Callable[[Kind], float | None]
) -> Curve:
    xs: list[float] = []
    ys: list[float] = []
    for line in history.lines:
        if isinstance(line, Run) and xs:
            xs.append(math.nan)
            ys.append(math.nan)
        elif isinstance(line, kind):
            value = y(line)
            xs.append(x(line))
            ys.append(math.nan if value is None else value)
    return Curve(xs, ys)


def metric_names(history: History) -> list[str]:
    """Names of all metrics, that of the stop rule first, the others as they first came."""
    names = {name: None for line in history.lines if isinstance(line, Evaluation) for name in line.metrics}
    rule = target(history)
    first = [rule.name] if rule is not None and rule.name in names else []
    return first + [name for name in names if name not in first]


def target(history: History) -> Metric | None:
    """The metric of the newest stop rule."""
    runs = [line for line in history.lines if isinstance(line, Run)]
    return runs[-1].stop_after.metric if runs else None


def panel_metrics(history: History, most: int = 4) -> list[str]:
    """The metrics that can share an axis with the first one: only fractions stand beside a fraction."""
    names = metric_names(history)
    if not names or not _is_fraction(history, names[0]):
        return names[:1]
    return [name for name in names if _is_fraction(history, name)][:most]


def _is_fraction(history: History, name: str) -> bool:
    values = [value for value in metric(history, name, by_time).y if math.isfinite(value)]
    return bool(values) and all(0 <= value <= 1 for value in values)


def bands(history: History) -> list[Band]:
    """Every life of every worker, by worker and start. A resumed run ends what its forerunner left open."""
    lives: list[Band] = []
    alive: dict[tuple[int, int], float] = {}
    last = 0.0
    for line in history.lines:
        if isinstance(line, Run):
            lives += _still_running(alive, last)
            alive.clear()
        elif isinstance(line, Member):
            key = (line.worker, line.incarnation)
            if line.event not in _ENDS:
                alive.setdefault(key, line.t)
            elif key in alive:
                lives.append(Band(line.worker, alive.pop(key), line.t, line.event))
        last = max(last, line.t)
    lives += _still_running(alive, last)
    return sorted(lives, key=lambda band: (band.worker, band.start))


def _still_running(alive: dict[tuple[int, int], float], end: float) -> Iterator[Band]:
    return (Band(worker, start, end, "running") for (worker, _), start in alive.items())


def marks(history: History) -> list[Mark]:
    """Server restarts and the points where a run resumed."""
    found = [Mark(line.t, "server") for line in history.lines if isinstance(line, Server)]
    runs = [line for line in history.lines if isinstance(line, Run)]
    return found + [Mark(line.t, "resumed") for line in runs[1:]]


def histogram(history: History) -> dict[int, int]:
    """{staleness: accepted pushes}. Lines are running totals; one that fell began anew, both parts count."""
    finished: Counter[int] = Counter()
    newest: dict[int, int] = {}
    for line in history.lines:
        if isinstance(line, Histogram):
            if sum(line.histogram.values()) < sum(newest.values()):
                finished.update(newest)
            newest = line.histogram
    finished.update(newest)
    return dict(sorted(finished.items()))


def duration(history: History) -> float:
    """Seconds up to the last line."""
    return max((line.t for line in history.lines), default=0.0)
