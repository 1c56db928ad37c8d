"""history.jsonl as rows that all look alike: what a table, a plot or a data frame is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from asgd.report import history as histories
from asgd.report.lines import Evaluation, Progress

Row = dict[str, Any]
_SAME = (
    "updates",
    "samples",
    "epochs",
    "loss",
    "samples_per_second",
    "updates_per_second",
    "workers",
    "refused",
)


def rows_of(path: Path) -> list[Row]:
    """A row for each line of progress and each evaluation, in the file's order. Raises UserError."""
    return [*rows(histories.read(path).lines)]


def rows(lines: Iterable[Any]) -> Iterator[Row]:
    """Of the lines of progress and evaluation among `lines`."""
    for line in lines:
        if isinstance(line, Progress):
            figures = {name: getattr(line, name) for name in _SAME}
            yield {"seconds": line.t, **figures, "staleness": line.staleness.mean}
        elif isinstance(line, Evaluation):
            # NB: a metric may be called like a figure of ours.
            metrics = {f"{name}_" if name in _OURS else name: value for name, value in line.metrics.items()}
            yield {"seconds": line.t, "updates": line.updates, "samples": line.samples, **metrics}


_OURS = {"seconds", "staleness", *_SAME}
