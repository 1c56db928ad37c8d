"""Conditions in the API's own shape, with the rule that makes them worth reading: a time changes only with a
status.

A condition judged the same as before keeps its lastTransitionTime, so that a pass that finds nothing new
writes nothing. What was never judged stands as Unknown: an absent condition says less than one that admits
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asgd_operator.constants import REASONS, UNKNOWN_REASON, Condition
from asgd_operator.plan import times
from asgd_operator.plan.model import Observed


@dataclass(frozen=True, slots=True)
class Judgement:
    """One condition as a pass finds it; None is Unknown. Raises ValueError for a reason that is not on the
    list.
    """

    kind: Condition
    status: bool | None
    reason: str
    message: str = ""

    def __post_init__(self) -> None:
        if self.reason not in REASONS[self.kind] | {UNKNOWN_REASON}:
            raise ValueError(f"{self.reason} is no reason of condition {self.kind}")


def unknown(kind: Condition) -> Judgement:
    return Judgement(kind, None, UNKNOWN_REASON)


def merge(o: Observed, judged: Iterable[Judgement]) -> list[dict[str, Any]]:
    """All conditions in their fixed order; those that were not judged in this pass stay as they are."""
    found = {item.kind: item for item in judged}
    return [_one(o, kind, found.get(kind)) for kind in Condition]


def _one(o: Observed, kind: Condition, now: Judgement | None) -> dict[str, Any]:
    before = o.condition(kind)
    if now is None:
        return dict(before) if before else write(o, unknown(kind), times.write(o.now))
    since = before.get("lastTransitionTime") if before.get("status") == _word(now.status) else None
    return write(o, now, since or times.write(o.now))


def write(o: Observed, item: Judgement, since: str) -> dict[str, Any]:
    """The condition as the API has it."""
    return {
        "type": item.kind.value,
        "status": _word(item.status),
        "reason": item.reason,
        "message": item.message,
        "observedGeneration": o.generation,
        "lastTransitionTime": since,
    }


def _word(status: bool | None) -> str:
    return "Unknown" if status is None else str(status)
