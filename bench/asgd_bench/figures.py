"""The arithmetic of a page: medians, spreads, and ratios taken within a round, so that a machine's drift cancels."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from asgd_bench.results import Line, Sample, Table


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of a set of figures."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def values(line: Line) -> list[float]:
    """A line's figures, failed rounds left out."""
    return [sample.value for sample in line.samples if sample is not None]


def ratios(reference: Line, line: Line, *, less_is_better: bool = False) -> list[float]:
    """How many times better `reference` is than `line` in each round that both finished; 2 means twice as good."""
    found = []
    for ours, theirs in zip(reference.samples, line.samples, strict=False):
        better, worse = (theirs, ours) if less_is_better else (ours, theirs)
        if better is not None and worse is not None and worse.value > 0:
            found.append(better.value / worse.value)
    return found


def advantage(table: Table, line: Line) -> Spread | None:
    """The spread of `ratios` of the table's reference over `line`; None for the reference itself."""
    reference = next((one for one in table.lines if one.name == table.reference), None)
    if reference is None or reference is line:
        return None
    return spread(ratios(reference, line, less_is_better=table.less_is_better))


def median_of(line: Line, pick: str) -> float | None:
    """Median of `Sample.cpu_seconds` or `Sample.memory_mib` over the rounds that have it."""
    found = [getattr(sample, pick) for sample in line.samples if sample is not None]
    known = [value for value in found if value is not None]
    return statistics.median(known) if known else None


def highest(samples: Sequence[Sample | None]) -> float | None:
    """The most memory that any round saw, MiB."""
    known = [s.memory_mib for s in samples if s is not None and s.memory_mib is not None]
    return max(known) if known else None
