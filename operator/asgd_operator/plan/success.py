"""Success: shard 0 says that the stop rule is met, and the workers have ended.

Never a server's exit: servers have no end of their own, and one that went away proves nothing. Between the
target and the verdict the job is Completing; workers that do not end within their drain time and a margin do
not hold the job for ever. When runPolicy.activeDeadlineSeconds passes meanwhile, the wait is over, and what was
reached stands.
"""

from __future__ import annotations

from datetime import datetime

from asgd.spec.status import DIVERGED, STOPPED_FOR_NOW, UNEVALUATED
from asgd_operator.constants import Condition
from asgd_operator.plan import times
from asgd_operator.plan.model import Observed
from asgd_operator.plan.verdict import Verdict, complete

KINDS = {"seconds": "WallClockReached", "patience": "NoImprovement"}
"""Reasons of Complete by shard 0's stop reason, where it is not TargetReached."""
FINISHED = "finished"
"""Shard 0's word for a job that is saved and evaluated."""
MARGIN_SECONDS = 60.0
"""Beside the drain time: what the final checkpoint, the last evaluation and the end of the pods may take."""
NAMED = 5
"""Workers whose indices are told."""
REPORT_SECONDS = 120.0
"""How long shard 0 may stay silent after all workers ended well."""
UNTOLD_SECONDS = 600.0
"""How long it may go on saying that the job runs: a restart has it forget that workers have ended."""


def target(o: Observed) -> str:
    """The stop reason that ends the job; empty while there is none."""
    reason = o.report.stop_reason if o.report else ""
    return "" if reason in STOPPED_FOR_NOW or reason in (DIVERGED, UNEVALUATED) else reason


def completing(o: Observed) -> bool:
    """The target is reached, or every worker ended well, which they do only when they are told that it is."""
    return bool(target(o)) or (o.workers is not None and o.workers.complete)


def verdict(o: Observed) -> Verdict | None:
    """Complete, or None while something is missing."""
    reason, done = target(o), all_ended(o) and _through(o)
    cut = "" if done else _cut_short(o)
    if reason and (done or cut or _waited_long(o)):
        late = "" if done or cut else _late(o)
        return complete(KINDS.get(reason, "TargetReached"), f"{_sentence(o, reason)}{cut}{late}")
    left = _unsaid_left(o)
    if left is None or (left > 0 and not cut):
        return None
    said = "has not taken note of it" if _says_running(o) else "no longer answers"
    return complete("TargetReached", f"All workers were told to stop and ended well; shard 0 {said}.{cut}")


def look_again(o: Observed) -> float | None:
    """Seconds until one of the waits here ends."""
    if not completing(o) or o.spec is None:
        return None
    ended = times.seconds_until(_completing_since(o), o.spec.workers.drain_seconds + MARGIN_SECONDS, o.now)
    waits = (ended, _unsaid_left(o))
    return min((wait for wait in waits if wait is not None and wait > 0), default=None)


def all_ended(o: Observed) -> bool:
    """Also the evaluator: its last word is the metric of the final weights."""
    jobs = (job for job in (o.workers, o.evaluator) if job is not None)
    return not o.running_workers and all(job.finished or job.active == 0 for job in jobs)


def _through(o: Observed) -> bool:
    """Shard 0 has said, after all others had ended, that nothing is left to do: the final checkpoint is there."""
    return o.report_settled and o.report is not None and o.report.phase == FINISHED


def _waited_long(o: Observed) -> bool:
    if o.spec is None:
        return False
    wait = times.seconds_until(_completing_since(o), o.spec.workers.drain_seconds + MARGIN_SECONDS, o.now)
    return wait is not None and wait <= 0


def _cut_short(o: Observed) -> str:
    """A sentence, when runPolicy.activeDeadlineSeconds has passed; else empty."""
    limit = o.spec.run_policy.active_deadline_seconds if o.spec else None
    if limit is None:
        return ""
    left = times.seconds_until(times.read(o.status.get("startTime")), limit, o.now)
    if left is None or left > 0:
        return ""
    before = "before all had ended and the last state was said to be saved"
    return f" runPolicy.activeDeadlineSeconds, {limit} s, passed {before}."


def _late(o: Observed) -> str:
    """A sentence, when workers have had their time and still run; else empty."""
    if not o.running_workers or o.spec is None:
        return ""
    seconds = o.spec.workers.drain_seconds + MARGIN_SECONDS
    named = ", ".join(str(pod.index) for pod in o.running_workers[:NAMED])
    return (
        f" {len(o.running_workers)} of its workers ({named}) had not ended {seconds:g} s after that"
        " (workers.drainSeconds and 60 s): what a script does after its training loop has no more time than that."
    )


def _unsaid_left(o: Observed) -> float | None:
    """Seconds for which shard 0 may still end a job whose workers have all ended well; None for other jobs."""
    if target(o) or o.workers is None or not o.workers.complete:
        return None
    since = o.workers.finished_at or _completing_since(o)
    return times.seconds_until(since, UNTOLD_SECONDS if _says_running(o) else REPORT_SECONDS, o.now)


def _says_running(o: Observed) -> bool:
    return o.report is not None and o.report.phase == "running"


def _completing_since(o: Observed) -> datetime | None:
    running = o.condition(Condition.RUNNING)
    if running.get("reason") != "Completing":
        return None
    # A job that was Stalled or Recovering before was not Running for longer than it has been Completing.
    moments = (
        times.read(running.get("lastTransitionTime")),
        times.read(o.status.get("training", {}).get("progressTime")),
    )
    return max((moment for moment in moments if moment is not None), default=None)


def _sentence(o: Observed, reason: str) -> str:
    if o.report is None:
        return f"The stop rule {reason} is met."
    met = f"The stop rule {reason} is met after {o.report.updates} updates and {o.report.samples} samples."
    if reason == "patience" and o.report.stop_detail:
        met += f" {o.report.stop_detail[:1].upper()}{o.report.stop_detail[1:]}."
    failed = o.report.evaluation_error
    return f"{met} The last evaluation failed: {failed}." if failed else met
