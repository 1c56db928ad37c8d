"""Remembers what was put back on children, and how often: `plan.drift` decides by it when to do so again.

In memory only: an operator that has just started puts back at once, and tells an event of the same words only once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgd_operator.plan import drift
from asgd_operator.plan.actions import Heal
from asgd_operator.plan.model import Healed, Observed

Child = tuple[str, str]
"""(kind, name)"""


@dataclass
class Healing:
    """For all jobs, by their UIDs."""

    _jobs: dict[str, dict[Child, Healed]] = field(default_factory=dict)

    def of(self, uid: str) -> Mapping[Child, Healed]:
        return dict(self._jobs.get(uid, {}))

    def done(self, o: Observed, action: Heal, owned: str) -> bool:
        """A child was applied again and `owned` is what is ours of it now. True when something was put back."""
        seen, key = action.seen, (action.seen.kind, action.seen.name)
        before, says = self._jobs.get(o.uid, {}).get(key), action.event.message.rpartition(";")[0]
        if owned == seen.owned:
            count = before.count if before is not None else 0
            found = Healed(count, before.at if before else o.now, seen.version, says, futile=owned)
        else:
            count = before.count if before is not None and not drift.quiet(before, o) else 0
            found = Healed(count + 1, o.now, seen.version, says)
        self._jobs.setdefault(o.uid, {})[key] = found
        return owned != seen.owned

    def forget(self, uid: str) -> None:
        self._jobs.pop(uid, None)
