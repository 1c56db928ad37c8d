"""Deadlines: of the whole run, of its start, and of progress.

The first two fail the job. A stall is not the job's end: shard 0 is restarted once, which restores the newest
checkpoint and has the workers join again; if that does not help, the job stays Stalled and Degraded for a
person to look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from asgd_operator.constants import Condition, EventReason, Role
from asgd_operator.plan import success, times
from asgd_operator.plan.actions import DeletePod, Event, Step
from asgd_operator.plan.model import Observed
from asgd_operator.plan.verdict import Verdict, failed


def verdict(o: Observed) -> Verdict | None:
    """Failed for a deadline that has passed, or None."""
    if o.spec is None or success.completing(o):
        return None
    policy = o.spec.run_policy
    if _passed(_left(o, "startTime", policy.active_deadline_seconds)):
        return failed(
            "DeadlineExceeded",
            f"Ran longer than runPolicy.activeDeadlineSeconds, {policy.active_deadline_seconds} s.",
        )
    if _starting(o) and _passed(_left(o, "startTime", policy.startup_deadline_seconds)):
        return failed(
            "StartupDeadlineExceeded",
            "Training did not begin within runPolicy.startupDeadlineSeconds, "
            f"{policy.startup_deadline_seconds} s{_because(o)}.",
        )
    return None


def look_again(o: Observed) -> float | None:
    """Seconds until the next of the three deadlines."""
    if o.spec is None:
        return None
    policy = o.spec.run_policy
    waits = [_left(o, "startTime", policy.active_deadline_seconds), _progress_left(o), _stuck_left(o)]
    if _starting(o):
        waits.append(_left(o, "startTime", policy.startup_deadline_seconds))
    return min((wait for wait in waits if wait is not None and wait > 0), default=None)


def stalled(o: Observed) -> bool:
    """Shard 0 answers, and has accepted nothing for progressDeadlineSeconds.

    A shard that does not answer is no stall: its own liveness probe restarts it, and what cannot be reached
    from here may well be training. Nor is time since its last answer, in which nobody has asked it.
    """
    left = _progress_left(o)
    if o.report is None or left is None or success.completing(o):
        return False
    return left + o.report_age <= 0


def stuck(o: Observed) -> Condition | None:
    """What has kept a job that trained before from going on for longer than progressDeadlineSeconds.

    Such a job goes on by itself when a node or a quota is there again, so it does not fail; runPolicy's
    activeDeadlineSeconds bounds it for those who want that.
    """
    return _missing(o) if _passed(_stuck_left(o)) else None


def tried(o: Observed) -> bool:
    """Shard 0 has been started again for this very stall: at this count of updates."""
    return bool(o.status.get("parameterServer", {}).get("rescuedAtUpdates") == updates(o))


def rescue(o: Observed) -> Step:
    """Restarts shard 0, once for each stall."""
    pods = [pod for pod in o.pods_of(Role.SERVER) if pod.index == 0 and pod.deletion is None]
    if not o.servers_ready or not stalled(o) or tried(o) or not pods:
        return Step()
    event = Event(
        EventReason.TRAINING_STALLED,
        f"No update for {_deadline(o)} s; shard 0 is restarted once.",
        warning=True,
    )
    return Step((DeletePod(pods[0].name, pods[0].uid),), (event,))


def updates(o: Observed) -> int:
    """The newest count of updates, as shard 0 says it or as it last did."""
    return o.report.updates if o.report else int(o.status.get("training", {}).get("updates", 0))


def progress_time(o: Observed) -> datetime | None:
    """When the job was last seen to advance, or when it was last able to: all servers and enough workers
    there.
    """
    moments = [
        times.read(o.status.get("training", {}).get("progressTime")),
        times.read(o.status.get("runningTime")),
    ]
    for kind in (Condition.SERVERS_READY, Condition.WORKERS_READY):
        moments.append(times.read(o.condition(kind).get("lastTransitionTime")) if o.holds(kind) else None)
    return latest(moments)


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _starting(o: Observed) -> bool:
    """NB: a job that waits in a queue for its turn has not been started yet."""
    return "runningTime" not in o.status and not o.waits_in_queue


def _progress_left(o: Observed) -> float | None:
    if o.spec is None or "runningTime" not in o.status:
        return None
    if o.report is not None and o.report.updates != int(o.status.get("training", {}).get("updates", 0)):
        return float(_deadline(o))
    return times.seconds_until(progress_time(o), _deadline(o), o.now)


def _missing(o: Observed) -> Condition | None:
    if "runningTime" not in o.status or o.spec is None or o.spec.run_policy.suspend or success.completing(o):
        return None
    if not o.servers_ready:
        return Condition.SERVERS_READY
    return None if o.enough_workers or o.waits_in_queue else Condition.WORKERS_READY


def _stuck_left(o: Observed) -> float | None:
    missing = _missing(o)
    if missing is None or o.condition(missing).get("status") != "False":
        return None
    since = times.read(o.condition(missing).get("lastTransitionTime"))
    return times.seconds_until(since, _deadline(o), o.now)


def _deadline(o: Observed) -> int:
    return o.spec.run_policy.progress_deadline_seconds if o.spec else 0


def _left(o: Observed, field: str, seconds: int | None) -> float | None:
    return None if seconds is None else times.seconds_until(times.read(o.status.get(field)), seconds, o.now)


def _passed(left: float | None) -> bool:
    return left is not None and left <= 0


def _because(o: Observed) -> str:
    if o.problem is not None:
        return f": {o.problem.message.rstrip('.')}"
    waiting = [o.condition(kind) for kind in (Condition.SERVERS_READY, Condition.WORKERS_READY)]
    message = next(
        (item["message"] for item in waiting if item.get("status") == "False" and item.get("message")), ""
    )
    return f": {message.rstrip('.')}" if message else ""
