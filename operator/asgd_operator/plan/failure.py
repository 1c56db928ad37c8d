"""Failure: what ends a job for good. One lost worker, one lost server or one eviction never does.

Fatal are: divergence, an exit code that says that another try gives the same end, and a spent budget.
Budgets: each worker index has its own, kept by the Job controller; the servers share one, counted in
`members`.
"""

from __future__ import annotations

from asgd.exitcodes import DIVERGED as DIVERGED_CODE
from asgd.spec.status import DIVERGED, UNEVALUATED
from asgd.spec.types import JobSpec
from asgd_operator.constants import Role
from asgd_operator.plan import evidence, members, success
from asgd_operator.plan.model import Observed, Pod
from asgd_operator.plan.verdict import Verdict, failed

BY_POLICY = "PodFailurePolicy"


def verdict(o: Observed) -> Verdict | None:
    """Failed, or None. A target that was reached wins over workers that end badly after it."""
    if o.spec is None or success.target(o):
        return None
    return (
        _diverged(o, o.spec)
        or _unevaluated(o)
        or _fatal(o, o.spec)
        or _servers_spent(o, o.spec)
        or _workers_spent(o, o.spec)
    )


def _diverged(o: Observed, spec: JobSpec) -> Verdict | None:
    if o.report is not None and o.report.stop_reason == DIVERGED:
        why = o.report.stop_detail or "gradients stayed non-finite"
        return failed("Diverged", f"Training diverged after {o.report.updates} updates: {why}.")
    ended = (pod for pod in o.pods if pod.exit_code == DIVERGED_CODE and _ended_fatally(pod, spec))
    pod = next(ended, None)
    return failed("Diverged", f"{pod.name} exited with {DIVERGED_CODE}: training diverged.") if pod else None


def _unevaluated(o: Observed) -> Verdict | None:
    if o.report is not None and o.report.stop_reason == UNEVALUATED:
        why = o.report.stop_detail
    elif (
        o.spec is not None
        and o.spec.stop_after.only_evaluated
        and o.evaluator is not None
        and o.evaluator.failure
        and not o.servers_stopped  # NB: that one failed before the job was suspended
    ):
        why = f"its evaluator has failed for good: {o.evaluator.failure[1].rstrip('.')}"
    else:
        return None
    return failed("EvaluationFailed", f"Only an evaluation (stopAfter) could end the job, and: {why}.")


def _fatal(o: Observed, spec: JobSpec) -> Verdict | None:
    pod = next((pod for pod in o.pods if _ended_fatally(pod, spec)), None)
    if pod is not None:
        said = f": {pod.last_words.rstrip('.')}." if pod.last_words else "; see its log."
        return failed(
            "FatalExitCode", f"{pod.name} exited with {pod.exit_code}, which no retry can mend{said}"
        )
    if o.workers is not None and o.workers.failure is not None and o.workers.failure[0] == BY_POLICY:
        # The pod may be gone already; the Job controller's sentence names it and its exit code.
        message = o.workers.failure[1]
        return failed("Diverged" if f"exit code {DIVERGED_CODE} " in message else "FatalExitCode", message)
    return None


def _ended_fatally(pod: Pod, spec: JobSpec) -> bool:
    return pod.role in (Role.SERVER, Role.WORKER) and pod.exit_code in spec.workers.exit_codes.fatal


def _servers_spent(o: Observed, spec: JobSpec) -> Verdict | None:
    failures, limit = members.count(o).failures, spec.parameter_server.backoff_limit
    if failures <= limit:
        return None
    return failed(
        "ParameterServerBackoffExceeded",
        f"Parameter servers were restarted {failures} times; parameterServer.backoffLimit is {limit}."
        f"{evidence.sentence(o, Role.SERVER)}",
    )


def _workers_spent(o: Observed, spec: JobSpec) -> Verdict | None:
    job = o.workers
    if job is None:
        return None
    left = spec.workers.replicas - job.failed_indexes
    if job.failure is None and (job.failed_indexes == 0 or left >= spec.workers.min_replicas):
        return None
    return failed(
        "WorkerBackoffExceeded",
        f"{job.failed_indexes} of {spec.workers.replicas} workers failed more often than "
        f"workers.backoffLimitPerIndex ({spec.workers.backoff_limit_per_index}) allows; "
        f"workers.minReplicas is {spec.workers.min_replicas}.{evidence.sentence(o, Role.WORKER)}",
    )
