"""What is left out of a status that the API server refuses, so that all the rest of it stands written. Pure.

`fitting` keeps a status within the CRD that this operator was built with. The cluster may have an older one, or a rule
of its own; and a job whose verdict is lost for the sake of a figure runs for ever in the eyes of all who wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from asgd_operator.constants import Condition, EventReason
from asgd_operator.plan import conditions, times
from asgd_operator.plan.actions import Event
from asgd_operator.plan.conditions import Judgement
from asgd_operator.plan.model import Observed

Status = Mapping[str, Any]
Part = tuple[str, ...]
"""Where something stands in a status: `("training", "metrics")`; a condition goes by its type."""

REASON = "StatusRefused"
LEAST = frozenset({"observedGeneration", "phase", "conditions"})
"""Never left out as a whole."""
_ORDER: tuple[Part, ...] = (
    ("training",),
    ("checkpoint",),
    ("term",),
    ("workers",),
    ("parameterServer", "members"),
    ("parameterServer",),
)
"""What goes first where the API server does not say what it minds; all else goes after these."""
AGAIN_SECONDS = 300.0
"""After which refused parts are tried again though they are still the same: the CRD may have been mended."""
QUOTED_MOST = 300


@dataclass(frozen=True, slots=True)
class Refused:
    """What of a job's status was refused last."""

    parts: tuple[Part, ...]
    values: tuple[Any, ...]
    """What stood there then."""
    error: str
    """The API server's words about the first of them."""
    since: datetime
    """When `parts` were found out."""
    last: datetime

    def recent(self, now: datetime) -> bool:
        """Whether what is left out next may go by what was left out last."""
        return (now - self.since).total_seconds() < AGAIN_SECONDS

    def stands(self, status: Status, now: datetime) -> bool:
        """Nothing gives hope that `status` would be taken whole.

        NB: a figure that is not there is kept from the status as written, mostly, and comes again with the next report.
        """
        found = zip(self.values, _values(status, self.parts), strict=True)
        same = all(value is None or value == then for then, value in found)
        return same and (now - self.last).total_seconds() < AGAIN_SECONDS

    def again(self, status: Status, now: datetime) -> Refused:
        """The same parts are refused in `status`."""
        return replace(self, values=_values(status, self.parts), last=now)

    @property
    def event(self) -> Event:
        return Event(EventReason.STATUS_REFUSED, self.sentence, warning=True)

    @property
    def sentence(self) -> str:
        names = ", ".join(".".join(("status", *part)) for part in self.parts)
        return f"{names} cannot be written and is left out of the status; {_says(self.error)}"


def refused(parts: Sequence[Part], status: Status, error: str, now: datetime) -> Refused:
    """`parts` of `status` are to be left out, because of `error`."""
    return Refused(tuple(parts), _values(status, parts), error, now, now)


def lost(error: str) -> Event:
    """Nothing of a status could be written."""
    says = f"The status of the job cannot be written, so what it shows is old; {_says(error)}"
    return Event(EventReason.STATUS_REFUSED, says, warning=True)


def next_part(status: Status, fields: Sequence[str]) -> Part | None:
    """What to leave out of `status` next, by the `fields` that the API server complains of; None: nothing is left."""
    named = [part for field in fields if (part := _named(status, field))]
    rest = [part for part in (*_ORDER, *((key,) for key in status)) if part[0] not in LEAST]
    messages = [("conditions", str(item["type"]), "message") for item in status.get("conditions", ())]
    return next((part for part in (*named, *rest, *messages) if _value(status, part) not in (None, "")), None)


def without(o: Observed, status: Status, found: Refused) -> dict[str, Any]:
    """`status` without the refused parts, and with a condition that tells of them."""
    before = o.condition(Condition.DEGRADED)
    since = before.get("lastTransitionTime") if before.get("status") == "True" else None
    told = Judgement(Condition.DEGRADED, True, REASON, found.sentence)
    mark = conditions.write(o, told, since or times.write(o.now))
    items = status.get("conditions", ())
    rest = {**status, "conditions": [mark if item["type"] == mark["type"] else item for item in items]}
    for part in found.parts:
        rest = _cut(rest, part)
    return rest


def _says(error: str) -> str:
    return f"the API server says: {' '.join(error.split())[:QUOTED_MOST].rstrip('.')}."


def _named(status: Status, field: str) -> Part | None:
    """The part that `field` lies in (`status.training.metrics.loss`, `status.conditions[3].message`), at most two deep.

    NB: names of metrics may hold dots.
    """
    rest = field.removeprefix("status.")
    if at := re.match(r"conditions\[(\d+)\](\.message)?", rest):
        items = list(status.get("conditions", ()))[int(at[1]) :][:1]
        kinds = [("conditions", str(item["type"]), bool(at[2] and item.get("message"))) for item in items]
        return next(((name, kind, *(("message",) if says else ())) for name, kind, says in kinds), None)
    first, _, inner = re.sub(r"\[\d+\]", "", rest).partition(".")
    if first in LEAST or first not in status:
        return None
    second = inner.partition(".")[0]
    there = isinstance(status[first], Mapping) and second in status[first]
    return (first, second) if there else (first,)


def _values(status: Status, parts: Sequence[Part]) -> tuple[Any, ...]:
    return tuple(_value(status, part) for part in parts)


def _value(status: Status, part: Part) -> Any:
    found: Any = status
    for key in part:
        if isinstance(found, list | tuple):
            found = next((item for item in found if item["type"] == key), None)
        else:
            found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _cut(status: Mapping[str, Any], part: Part) -> dict[str, Any]:
    first, *inner = part
    if first == "conditions":
        kind, *message = inner
        items = ({**item, "message": ""} if item["type"] == kind else item for item in status[first])
        return {**status, first: [item for item in items if message or item["type"] != kind]}
    block = status.get(first)
    smaller = (
        {key: item for key, item in block.items() if key not in inner} if isinstance(block, Mapping) else {}
    )
    # NB: a block that has become empty by it would be refused in its turn.
    rest = {key: item for key, item in status.items() if key != first}
    return rest | {first: smaller} if inner and smaller else rest
