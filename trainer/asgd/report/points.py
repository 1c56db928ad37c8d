"""What each evaluation of a run had cost when its weights stood: seconds, updates, samples and bytes. Pure.

An evaluation's line knows its updates; bytes stand in the lines of progress around it and are interpolated
between them. Servers count bytes from their own start: what they count anew is added to what was there.
"""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

from asgd.report.history import History
from asgd.report.lines import Evaluation, Progress, Run


class Point(Struct, frozen=True):
    """One evaluation. `first`: a run begins or resumes with it, so no curve leads to it from the one before."""

    t: float
    updates: int
    samples: int
    bytes: float
    metrics: dict[str, float | None]
    first: bool = False


class _Traffic(Struct):
    """(updates, bytes) of one start of the run, both rising; `bytes` continue those of earlier starts."""

    at: list[tuple[int, float]] = field(default_factory=list)

    def bytes_at(self, updates: int) -> float:
        if not self.at:
            return 0.0
        where = bisect_left(self.at, (updates, 0.0))
        if where in (0, len(self.at)):
            return self.at[min(where, len(self.at) - 1)][1]
        (x0, y0), (x1, y1) = self.at[where - 1], self.at[where]
        return y0 + (y1 - y0) * (updates - x0) / (x1 - x0) if x1 > x0 else y1


def points(history: History) -> list[Point]:
    """All evaluations in the order of the file."""
    found: list[Point] = []
    starts = _traffic(history)
    start, first = -1, True
    for line in history.lines:
        if isinstance(line, Run):
            start, first = start + 1, True
        elif isinstance(line, Evaluation):
            cost = starts[max(start, 0)].bytes_at(line.updates)
            found.append(
                Point(
                    t=line.t,
                    updates=line.updates,
                    samples=line.samples,
                    bytes=cost,
                    metrics=line.metrics,
                    first=first,
                )
            )
            first = False
    return found


def total_bytes(history: History) -> float:
    """Bytes that servers sent and took in, all starts of the run together."""
    return max((traffic.at[-1][1] for traffic in _traffic(history) if traffic.at), default=0.0)


def _traffic(history: History) -> list[_Traffic]:
    starts = [_Traffic()]
    total = before = 0.0
    begun = False
    for line in history.lines:
        if isinstance(line, Run):
            starts += [_Traffic()] if begun else []
            begun, before = True, 0.0
        elif isinstance(line, Progress):
            now = float(line.bytes_sent + line.bytes_received)
            # NB: a shard that came back counts anew while the others go on, so a fall says nothing of its own.
            total += max(0.0, now - before)
            before = now
            traffic = starts[-1]
            if not traffic.at or line.updates >= traffic.at[-1][0]:
                traffic.at.append((line.updates, total))
    return starts
