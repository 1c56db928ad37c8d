"""What went wrong in a run without ending it: the display, its plain lines and the summary say the same."""

from __future__ import annotations

from collections.abc import Iterator

from asgd.report import units
from asgd.spec.status import Totals


def troubles(figures: Totals) -> Iterator[tuple[str, str]]:
    """(what happened, how often); nothing for a run in which nothing of the kind did."""
    if refused := {reason: count for reason, count in figures.refused.items() if count}:
        yield "refused", ", ".join(f"{count:,} {reason}" for reason, count in refused.items())
    if figures.evaluations_failed:
        yield "failed", units.plural(figures.evaluations_failed, "evaluation")
    if figures.rollbacks:
        times = units.plural(figures.rollbacks, "time")
        yield "went back", f"{times}, to {figures.rate_factor:g} of the learning rate"
    if figures.lost_updates:
        yield "lost", units.plural(figures.lost_updates, "update")
    if figures.revisited_samples:
        yield "revisited", units.plural(figures.revisited_samples, "sample")
    if restarts := {role: count for role, count in figures.restarts.items() if count}:
        yield "restarts", ", ".join(f"{role} {count}" for role, count in restarts.items())
