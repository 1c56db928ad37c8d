"""What is worth a person's look while training goes on: Degraded, and whether checkpoints are made.

A degraded job still trains. Thresholds are generous and named, for a condition that cries every minute is
read by no one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asgd.spec.status import Status
from asgd.spec.types import JobSpec
from asgd_operator.constants import Condition
from asgd_operator.plan import deadlines, drift, ending, failing, keys, queueing, success
from asgd_operator.plan.conditions import Judgement
from asgd_operator.plan.model import BatchJob, Observed
from asgd_operator.plan.start import pinned

STALENESS_FACTOR = 4
"""A push waits for about one update of each other worker; a 99th percentile this many times above is a
straggler's.
"""
SPENT = "BackoffLimitExceeded"
"""Why a Job has failed whose pods failed too often, in the Job controller's word."""
LATE_FACTOR = 3
LATE_SECONDS = 300
"""A checkpoint is late when it is older than both: this many intervals, and the interval and this time."""


def degraded(o: Observed, spec: JobSpec) -> Judgement:
    """The first of the reasons that holds."""
    kind = Condition.DEGRADED
    for judgement in (*failing.judge(o), *unread(o)):
        if judgement.status:
            return judgement
    if pods := ending.overdue(o):
        return Judgement(kind, True, "PodsNotEnding", ending.sentence(pods))
    if found := _children(o):
        return Judgement(kind, True, *found)
    if missing := deadlines.stuck(o):
        limit = spec.run_policy.progress_deadline_seconds
        sentence = (
            f"{missing.value} has been False for more than runPolicy.progressDeadlineSeconds, {limit} s."
        )
        return Judgement(kind, True, "Stalled", sentence)
    if spec.run_policy.suspend or not o.launched or o.waits_in_queue or success.completing(o):
        return Judgement(kind, False, "AsExpected")
    if o.servers_ready and deadlines.stalled(o) and deadlines.tried(o):
        return Judgement(
            kind, True, "Stalled", "A restart of shard 0 did not help; see the logs of the workers."
        )
    if o.servers_ready and o.report is None:
        return Judgement(kind, True, "MetricsUnavailable", "Shard 0 does not answer on its metrics port.")
    if late(o, spec):
        return Judgement(
            kind, True, "CheckpointFailing", "The newest checkpoint is too old; see the log of shard 0."
        )
    if o.report is not None and (sentence := hung(o.report)):
        return Judgement(kind, True, "WorkerHung", sentence)
    if o.report is not None and o.report.rejected_workers:
        return Judgement(kind, True, "WorkerRejected", rejected(o.report.rejected_workers))
    if o.report is not None and o.report.refused_lately:
        return Judgement(kind, True, "PushesRefused", refused(o.report.refused_lately))
    if o.report is not None and o.report.evaluation_error:
        return Judgement(kind, True, "EvaluationFailing", _said(o.report.evaluation_error))
    if sentence := spent(o.evaluator) or queueing.evaluator_waits(o):
        return Judgement(kind, True, "EvaluationFailing", sentence)
    if o.workers is not None and o.workers.ready + o.workers.succeeded < spec.workers.replicas:
        who = "workers.autoscale" if spec.workers.autoscale else "workers.replicas"
        fewer = f"Fewer workers are ready than {who} asks for. {queueing.some_wait(o)}"
        return Judgement(kind, True, "FewerThanDesired", fewer.strip())
    if stale(o, spec):
        return Judgement(
            kind,
            True,
            "HighStaleness",
            "The 99th percentile of staleness is far above the number of workers.",
        )
    if o.report is not None and gone_back(o.report):
        return Judgement(kind, True, "RolledBack", _sentence(o.report.rollback_detail))
    if pinned(o):
        return Judgement(
            kind, True, "Outdated", "It runs from a former spec; suspend and resume it to apply the edit."
        )
    return Judgement(kind, False, "AsExpected")


def gone_back(report: Status) -> bool:
    """The job went back to a checkpoint, and none has been saved yet from beyond where it had diverged.

    Until then the job could come to the same point again and lose the same work.
    """
    saved = report.checkpoint.updates if report.checkpoint else 0
    return report.rollbacks > 0 and saved <= report.diverged_at


def _children(o: Observed) -> tuple[str, str] | None:
    """(reason, sentence) where children are not what they should be, and cannot simply be made so."""
    if sentence := next(iter(o.taken.values()), ""):
        return "NameTaken", sentence
    if sentence := keys.sentence(o):
        return "KeysLost", sentence
    return drift.sentence(o)


def unread(o: Observed) -> Iterator[Judgement]:
    """Of a running job whose spec this operator cannot read, or not all of it."""
    if o.unread:
        yield Judgement(Condition.DEGRADED, True, "OperatorOutdated", o.unread)


def hung(report: Status) -> str:
    """The first worker that lives and makes no progress, or was given up and has no successor yet; else ''.

    NB: shard 0 ends it and the Job starts it again; nothing is left to do here.
    """
    for worker in {worker.index: worker for worker in report.workers}.values():
        if worker.state == "stalled":
            holds = f"holds {worker.samples_held:,} samples and " if worker.samples_held else ""
            return f"Worker {worker.index} {holds}has pushed nothing for long; see workers.progressDeadlineSeconds."
        if worker.state == "hung":
            return (
                f"Worker {worker.index} was given up, for it made no progress; no successor has joined yet."
            )
    return ""


def spent(evaluator: BatchJob | None) -> str:
    """That the evaluator is not started again; else ''.

    NB: one that ends by the failure policy has been refused, or has a task that evaluates nothing, which is no trouble.
    """
    if evaluator is None or evaluator.failure is None or evaluator.failure[0] != SPENT:
        return ""
    return "The evaluator has failed more often than it is started again: nothing is evaluated any more."


def refused(workers: Sequence[int]) -> str:
    some = ", ".join(map(str, workers[:16])) + (", ..." if len(workers) > 16 else "")
    return f"Pushes of worker {some} were refused in the last minutes: they are not finite, or out of all bounds."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _said(sentence: str) -> str:
    return f"The newest evaluation failed: {sentence}."


def rejected(workers: Sequence[int]) -> str:
    """NB: such a worker is left running; a restart would cure nothing, and the long window lets it back."""
    some = ", ".join(map(str, workers[:16])) + (", ..." if len(workers) > 16 else "")
    subject = f"Worker {some} is" if len(workers) == 1 else f"Workers {some} are"
    return (
        f"{subject} not listened to until the long window ends: what they sent wandered off from the others."
    )


def stale(o: Observed, spec: JobSpec) -> bool:
    return o.report is not None and o.report.staleness.p99 > STALENESS_FACTOR * max(4, spec.workers.replicas)


def late(o: Observed, spec: JobSpec) -> bool:
    every = spec.checkpoint.seconds
    saved = o.report.checkpoint if o.report else None
    if saved is None or o.report is None:
        return False
    # NB: how long so many updates take nobody knows; who saves by them says what keeps it from saving.
    known = every > 0 or bool(o.report.checkpoint_error)
    return known and saved.seconds_ago > max(LATE_FACTOR * every, every + LATE_SECONDS)


def saving(o: Observed, spec: JobSpec) -> Iterator[Judgement]:
    """CheckpointReady, when shard 0 answers; what was known of it stays otherwise."""
    kind = Condition.CHECKPOINT_READY
    if o.report is None:
        if not o.condition(kind):
            yield Judgement(kind, False, "NeverSaved")
    elif o.report.checkpoint is None:
        yield Judgement(kind, False, "NeverSaved")
    elif late(o, spec):
        yield Judgement(
            kind, False, "SaveFailed", "No new checkpoint for several intervals; see the log of shard 0."
        )
    else:
        yield Judgement(kind, True, "Saved")
