"""Two conditions for tools that know nothing of AsgdJobs and go by kstatus: Flux, Helm 4, kpt.

To them an object is ready unless `Reconciling` (wait for it) or `Stalled` (it will not come by itself) stands, and both
stand only while they hold. They repeat what the nine conditions say, which stay the contract; nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asgd_operator.constants import KSTATUS, Phase
from asgd_operator.plan import times
from asgd_operator.plan.model import Observed

STALLED, RECONCILING = KSTATUS
_COMING = {Phase.QUEUED, Phase.STARTING, Phase.RECOVERING, Phase.WAITING_FOR_WORKERS, Phase.SUSPENDING}
_OVER = {Phase.FAILED, Phase.INVALID}


def conditions(o: Observed, phase: Phase, why: Mapping[str, str]) -> list[dict[str, Any]]:
    """At most one: why the job does not do what its spec asks for, with `why`, the status' reason and message."""
    kind = RECONCILING if phase in _COMING else STALLED if phase in _OVER else ""
    if not kind:
        return []
    before = o.condition(kind)
    return [
        {
            "type": kind,
            "status": "True",
            "reason": why.get("reason", phase.value),
            "message": why.get("message", ""),
            "observedGeneration": o.generation,
            "lastTransitionTime": before.get("lastTransitionTime") or times.write(o.now),
        }
    ]


def kept(o: Observed) -> Sequence[Mapping[str, Any]]:
    """As they stand, for a status that cannot be derived now."""
    return [item for kind in KSTATUS if (item := o.condition(kind))]
