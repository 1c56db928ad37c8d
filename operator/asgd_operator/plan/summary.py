"""Why a job is in its phase, in one word and one sentence: what `kubectl get asgdjobs` shows without a question.

Conditions are the contract, nine of them; a person wants the one that explains what the phase says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asgd_operator.constants import Condition, Phase

_EXPLAINS = {
    Phase.SUCCEEDED: Condition.COMPLETE,
    Phase.FAILED: Condition.FAILED,
    Phase.INVALID: Condition.ACCEPTED,
    Phase.SUSPENDING: Condition.SUSPENDED,
    Phase.SUSPENDED: Condition.SUSPENDED,
    Phase.COMPLETING: Condition.RUNNING,
    Phase.QUEUED: Condition.WORKERS_READY,
    Phase.STARTING: Condition.SERVERS_READY,
    Phase.RECOVERING: Condition.SERVERS_READY,
    Phase.WAITING_FOR_WORKERS: Condition.WORKERS_READY,
    Phase.STALLED: Condition.RUNNING,
}


def summary(phase: Phase, conditions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`reason` and `message` of the status, each left out where there is nothing to say."""
    found = {item["type"]: item for item in conditions}
    degraded = found.get(Condition.DEGRADED, {})
    told = found.get(_EXPLAINS[phase], {}) if phase in _EXPLAINS else {}
    if phase is Phase.RUNNING:
        told = degraded if degraded.get("status") == "True" else found.get(Condition.RUNNING, {})
    elif phase in (Phase.STARTING, Phase.RECOVERING) and told.get("status") == "True":
        told = found.get(Condition.WORKERS_READY, {})
    return {field: told[field] for field in ("reason", "message") if told.get(field)}
