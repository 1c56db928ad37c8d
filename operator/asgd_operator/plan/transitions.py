"""Events from the difference of two statuses: one for each transition, none for routine.

Because they come from what is about to be written, an operator that restarts, or a pass that is repeated,
tells nothing twice. Checkpoints are metrics, not events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asgd_operator.constants import TROUBLES, Condition, Phase, Role
from asgd_operator.constants import EventReason as Reason
from asgd_operator.plan import degraded, evidence
from asgd_operator.plan.actions import Event
from asgd_operator.plan.model import Observed
from asgd_operator.plan.trouble import end

Status = Mapping[str, Any]


def events(o: Observed, after: Status) -> Iterator[Event]:
    """What happened between the previous status and `after`."""
    for kind, status, reason, warning in _CONDITIONS:
        now = _find(after, kind)
        if now.get("status") == status and o.condition(kind).get("status") != status:
            yield Event(reason, now.get("message") or _PLAIN.get(reason, reason), warning)
    yield from _accepted(o, after)
    yield from _hindered(o, after)
    yield from _suspension(o, after)
    yield from _training(o, after)
    yield from _restarts(o, after)


_CONDITIONS = (
    (Condition.SERVERS_READY, "True", Reason.SERVERS_READY, False),
    (Condition.COMPLETE, "True", Reason.COMPLETED, False),
    (Condition.FAILED, "True", Reason.FAILED, True),
)
_PLAIN = {Reason.SERVERS_READY: "All parameter servers are ready."}


def _accepted(o: Observed, after: Status) -> Iterator[Event]:
    now, before = _find(after, Condition.ACCEPTED), o.condition(Condition.ACCEPTED)
    if now.get("status") == "True" and before.get("status") != "True":
        yield Event(Reason.ACCEPTED, "The job is valid.")
    if now.get("status") == "False" and now.get("message") != before.get("message"):
        yield Event(Reason.INVALID, now["message"], warning=True)


def _hindered(o: Observed, after: Status) -> Iterator[Event]:
    """Once for each kind of trouble; the condition has its newest words."""
    if o.finished:
        return
    for kind, reason in _HINDERED.items():
        now = _find(after, kind)
        if now.get("reason") in TROUBLES | {"NotJoined"} and now["reason"] != o.condition(kind).get("reason"):
            yield Event(reason, now["message"], warning=True)


_HINDERED = {
    Condition.SERVERS_READY: Reason.SERVERS_HINDERED,
    Condition.WORKERS_READY: Reason.WORKERS_HINDERED,
}


def _suspension(o: Observed, after: Status) -> Iterator[Event]:
    now, before = _find(after, Condition.SUSPENDED), o.condition(Condition.SUSPENDED)
    if now.get("status") == "True" and before.get("status") != "True":
        yield Event(
            Reason.SUSPENDED, "All pods have ended; the job goes on from its checkpoint when it is resumed."
        )
    if now.get("reason") == "Resumed" and before.get("reason") != "Resumed":
        yield Event(Reason.RESUMED, "The job goes on.")


def _training(o: Observed, after: Status) -> Iterator[Event]:
    if "runningTime" in after and "runningTime" not in o.status:
        yield Event(Reason.TRAINING_STARTED, "All parameter servers and enough workers are ready.")
    if after["phase"] == Phase.COMPLETING and o.status.get("phase") != Phase.COMPLETING:
        yield Event(Reason.TARGET_REACHED, "The stop rule is met; workers end and the last state is saved.")
    if o.holds(Condition.WORKERS_READY) and after["phase"] == Phase.WAITING_FOR_WORKERS:
        message = _find(after, Condition.WORKERS_READY).get("message", "")
        yield Event(Reason.BELOW_MINIMUM, message, warning=True)
    yield from _queue(o, after)
    rejected = after.get("training", {}).get("rejectedWorkers", [])
    if fresh := sorted({*rejected} - {*o.status.get("training", {}).get("rejectedWorkers", [])}):
        yield Event(Reason.WORKER_REJECTED, degraded.rejected(fresh), warning=True)
    told, known = (int(status.get("training", {}).get("noticeNumber", 0)) for status in (after, o.status))
    for notice in o.report.notices if o.report else []:
        if known < notice.number <= told:
            yield Event(_NOTICES[notice.about], f"{notice.text[:1].upper()}{notice.text[1:]}.", warning=True)
    now, before = _find(after, Condition.DEGRADED), o.condition(Condition.DEGRADED)
    degraded_anew = now.get("status") == "True" and now.get("reason") != before.get("reason")
    if degraded_anew and (reason := _DEGRADED.get(now["reason"])):
        yield Event(reason, now["message"], warning=True)


def _queue(o: Observed, after: Status) -> Iterator[Event]:
    now, before = after["phase"], o.status.get("phase")
    if now == Phase.QUEUED and before != Phase.QUEUED:
        back = "runningTime" in o.status
        yield Event(Reason.QUEUED, _find(after, Condition.WORKERS_READY).get("message", ""), warning=back)
    if before == Phase.QUEUED and now in _LET_GO and o.spec is not None:
        yield Event(Reason.ADMITTED, f"Queue {o.spec.scheduling.queue_name} lets the workers start.")


_LET_GO = frozenset({Phase.STARTING, Phase.RECOVERING, Phase.WAITING_FOR_WORKERS, Phase.RUNNING})
_NOTICES = {
    "worker": Reason.WORKER_HUNG,
    "evaluator": Reason.EVALUATOR_HUNG,
    "pushes": Reason.PUSHES_REFUSED,
    "evaluation": Reason.EVALUATION_FAILED,
    "data": Reason.DATA_CHANGED,
    "checkpoint": Reason.CHECKPOINT_SKIPPED,
    "rollback": Reason.ROLLED_BACK,
}
_DEGRADED = {
    "HighStaleness": Reason.HIGH_STALENESS,
    "CheckpointFailing": Reason.CHECKPOINT_FAILED,
    "PodsNotEnding": Reason.PODS_NOT_ENDING,
    "Stalled": Reason.TRAINING_STALLED,
    "NameTaken": Reason.NAME_TAKEN,
    "KeysLost": Reason.KEYS_LOST,
    "Drifted": Reason.DRIFTED,
    "DriftFought": Reason.DRIFT_FOUGHT,
    "OperatorOutdated": Reason.OPERATOR_OUTDATED,
}


def _restarts(o: Observed, after: Status) -> Iterator[Event]:
    servers = after["parameterServer"].get("restarts", 0) - o.status.get("parameterServer", {}).get(
        "restarts", 0
    )
    if servers > 0:
        limit = o.spec.parameter_server.backoff_limit if o.spec else 0
        spent = after["parameterServer"].get("failures", 0)
        message = (
            f"A parameter server was started again ({spent} of {limit} restarts of its budget are spent)."
        )
        yield Event(Reason.SERVER_RESTARTED, message, warning=True)
    failed = evidence.event(o, after)
    if failed is not None:
        yield failed
    more_workers = after["workers"]["restarts"] > o.status.get("workers", {}).get("restarts", 0)
    if more_workers and (found := _worker(o, after)):
        yield Event(Reason.WORKER_FAILED, found, warning=True)


def _worker(o: Observed, after: Status) -> str:
    """What is told of a worker's restart; empty where it was told as the newest failure."""
    ended = [pod for pod in o.pods_of(Role.WORKER) if pod.phase == "Failed" and pod.exit_code]
    newest = max(ended, key=lambda pod: (str(pod.created), pod.name), default=None)
    if newest is None:
        return "A worker ended and was replaced."
    if newest.name == after.get("lastFailure", {}).get("pod"):
        return ""
    return f"On node {newest.node or 'unknown'} {end(newest)}"


def _find(status: Status, kind: Condition) -> Mapping[str, Any]:
    return next((item for item in status["conditions"] if item["type"] == kind), {})
