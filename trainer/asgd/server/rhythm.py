"""When what comes each so many updates or epochs falls due: at each multiple, counted from the job's start. Pure.

Multiples need no memory of when the last one was: after a restart, or an edit of the job, the next one is where anybody
would look for it. What falls due by seconds is not looked at here.
"""

from __future__ import annotations

from typing import NamedTuple

from asgd.spec.types import JobSpec, Rhythm

_ROUNDING = 1e-9
"""So that 0.3 is the third multiple of 0.1."""


class Counts(NamedTuple):
    """How far a job is."""

    updates: int = 0
    epochs: float = 0.0


def passed(rhythm: Rhythm, since: Counts, now: Counts) -> int:
    """A number of the newest multiple that lies after `since` and not after `now`; 0: there is none."""
    before, here = _multiples(rhythm, since), _multiples(rhythm, now)
    return sum(here) if any(new > old for old, new in zip(before, here, strict=True)) else 0


def next_update(rhythm: Rhythm, since: Counts) -> int | None:
    """The first multiple of `everyUpdates` after `since`; None: nothing comes by updates."""
    every = rhythm.every_updates
    return None if every is None else (since.updates // every + 1) * every


def _multiples(rhythm: Rhythm, counts: Counts) -> tuple[int, int]:
    updates, epochs = rhythm.every_updates, rhythm.every_epochs
    return (
        counts.updates // updates if updates else 0,
        int(counts.epochs / epochs + _ROUNDING) if epochs else 0,
    )


def needs_size(spec: JobSpec) -> tuple[str, str] | None:
    """The field that needs data of a known size, and what may stand in its place; None: there is none."""
    if spec.stop_after.epochs is not None:
        return "stopAfter.epochs", "updates, samples, seconds, metric"
    for name, rhythm in (("evaluation", spec.evaluation), ("checkpoint", spec.checkpoint)):
        if rhythm.every_epochs is not None:
            return f"{name}.everyEpochs", "everyUpdates, everySeconds"
    return None
