"""What the condition Degraded means to whoever asks, by its reason; and who it slows down. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from asgd.client.explain import pods, speed, troubles
from asgd.client.explain.facts import Facts
from asgd.client.explain.kinds import Found, Kind, Verdict
from asgd.client.explain.refusals import taken
from asgd.client.explain.words import clause

Answer = tuple[Verdict, Found]


def degraded(facts: Facts) -> Answer | None:
    """None where Degraded does not hold."""
    if not facts.holds("Degraded"):
        return None
    reason, text = facts.reason("Degraded"), clause(facts.message("Degraded"))
    if reason in _TABLE:
        verdict, judge = _TABLE[reason]
        return verdict, judge(facts, text)
    found = Found(
        Kind.UNKNOWN, f"{text} ({reason})" if text else reason, "Read the reason in docs/reference/reasons.md.",
        facts.kubectl("describe", "asgdjob", facts.name),
    )  # fmt: skip
    return Verdict.DEGRADED, found


def fewer(facts: Facts, text: str) -> Found:
    """Fewer workers than asked for: the pods of the others say why."""
    ready, wanted = facts.status.get("workers", {}).get("ready", 0), facts.workers_wanted
    counts = f"{ready} of {wanted} workers train"
    found = pods.trouble(facts, "worker")
    cause = troubles.explained(facts, *found) if found else None
    queue = facts.at("scheduling.queueName")
    if cause is None and queue and (held := re.search(rf"Queue {re.escape(queue)} has not let .*", text)):
        return Found(
            Kind.QUEUE, f"{counts}: {clause(held[0])}",
            f"Wait until the queue has room for them, or ask for less ({facts.workers_field}).",
            facts.kubectl("get", "workloads.kueue.x-k8s.io"), facts.workers_field,
        )  # fmt: skip
    if cause is None:
        return Found(
            Kind.FEWER_WORKERS, f"{counts}, and nothing is said against the others: their pods are on their way",
            f"Wait for them, or lower {facts.workers_field}.",
            facts.kubectl("get", "pods", "-l", f"asgd.dev/job-name={facts.name}"),
            facts.workers_field,
        )  # fmt: skip
    return Found(Kind.FEWER_WORKERS, f"{counts}: {cause.text}", cause.fix, cause.command, cause.field)


def _server_log(kind: Kind, fix: str, path: str = "") -> Callable[[Facts, str], Found]:
    def judge(facts: Facts, text: str) -> Found:
        return Found(kind, text, fix, facts.log(f"{facts.name}-server-0"), path)

    return judge


def _evaluation(facts: Facts, text: str) -> Found:
    code = facts.at("entrypoint")
    fix = f"Mend evaluate in the code of spec.entrypoint{f' ({code})' if code else ''}: training goes on meanwhile."
    return Found(Kind.EVALUATION_FAILING, text, fix, facts.logs_of("evaluator"), "entrypoint")


def _worker_log(kind: Kind, fix: str, path: str = "") -> Callable[[Facts, str], Found]:
    """`{}` of the fix stands for the worker that the sentence names."""

    def judge(facts: Facts, text: str) -> Found:
        number = found[1] if (found := re.search(r"worker (\d+)", text, re.IGNORECASE)) else ""
        who = f"worker {number}" if number else "the workers"
        return Found(kind, text, fix.format(who), facts.logs_of("worker", number), path)

    return judge


def _again(kind: Kind, fix: str) -> Callable[[Facts, str], Found]:
    def judge(facts: Facts, text: str) -> Found:
        return Found(kind, text, fix, f"{facts.own('suspend')} && {facts.own('resume')}")

    return judge


def _operator(kind: Kind, fix: str) -> Callable[[Facts, str], Found]:
    def judge(facts: Facts, text: str) -> Found:
        command = "kubectl logs -n asgd-system -l app.kubernetes.io/component=operator --tail=50"
        return Found(kind, text, fix, command)

    return judge


def _hung(facts: Facts, text: str) -> Found:
    """Shard 0 says more of it than the condition, if it is asked in time."""
    told = _worker_log(Kind.HUNG_WORKER, speed.HUNG, speed.DEADLINE)
    return next(speed.hung(facts), None) or told(facts, re.sub(r"; see workers\.\S+$", "", text))


def _not_ending(facts: Facts, text: str) -> Found:
    text = re.sub(r"\. See the pod's finalizers.*", "", text)
    pod = text.split(" ", 1)[0]
    return Found(
        Kind.PODS_NOT_ENDING, text, f"Take away the finalizer that holds {pod}, or look at the kubelet of its node.",
        facts.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.finalizers} {.spec.nodeName}"),
    )  # fmt: skip


def _high_staleness(facts: Facts, text: str) -> Found:
    figures = facts.status.get("training", {})
    p99 = figures.get("stalenessP99")
    seen = f" (99th percentile {p99} updates, {facts.workers_wanted} workers)" if p99 is not None else ""
    return Found(
        Kind.STALENESS, f"{text}{seen}",
        "Find the worker that is slow, or bound staleness by exchange.staleness.max or a staleness-aware algorithm.",
        facts.own("top"), "exchange.staleness.max",
    )  # fmt: skip


def _rolled_back(facts: Facts, text: str) -> Found:
    return Found(
        Kind.ROLLED_BACK, text,
        "Lower optimizer.learningRate if it comes again, and look at the data of the worker named.",
        facts.kubectl("events", "--for", f"asgdjob/{facts.name}"), "optimizer.learningRate",
    )  # fmt: skip


_Row = tuple[Verdict, Callable[[Facts, str], Found]]
_SLOW, _AILING = Verdict.SLOW, Verdict.DEGRADED
_TABLE: dict[str, _Row] = {
    "FewerThanDesired": (_SLOW, fewer),
    "HighStaleness": (_SLOW, _high_staleness),
    "WorkerHung": (_SLOW, _hung),
    "WorkerRejected": (_AILING, _worker_log(Kind.WORKER_REJECTED, "Look at the data and the machine of {}.")),
    "PushesRefused": (
        _AILING,
        _worker_log(
            Kind.PUSHES_REFUSED,
            "Look at the data of {}, or lower optimizer.learningRate.",
            "optimizer.learningRate",
        ),
    ),
    "EvaluationFailing": (_AILING, _evaluation),
    "CheckpointFailing": (
        _AILING,
        _server_log(
            Kind.CHECKPOINT_FAILING,
            "Make room in the store of checkpoint.uri, or give the servers the right to write there.",
            "checkpoint.uri",
        ),
    ),
    "MetricsUnavailable": (
        _AILING,
        _server_log(
            Kind.SILENT_SHARD,
            "Let the operator reach the metrics port of shard 0: look for a NetworkPolicy or a mesh.",
        ),
    ),
    "Stalled": (
        Verdict.NOT_RUNNING,
        _worker_log(
            Kind.STALLED, "Read the logs of {}: no update has come for runPolicy.progressDeadlineSeconds."
        ),
    ),
    "RolledBack": (_AILING, _rolled_back),
    "Outdated": (_AILING, _again(Kind.OUTDATED, "Suspend the job and resume it to apply the edit.")),
    "KeysLost": (
        _AILING,
        _again(
            Kind.KEYS_LOST, "Suspend the job and resume it: it gets new keys and goes on from its checkpoint."
        ),
    ),
    "OperatorOutdated": (
        _AILING,
        _operator(Kind.OPERATOR, "Upgrade the operator: the CRD is newer; the job runs on."),
    ),
    "OperatorBug": (_AILING, _operator(Kind.OPERATOR, "Report the operator's log: the job's pods run on.")),
    "ReconcileFailed": (
        _AILING,
        _operator(
            Kind.OPERATOR,
            "Give the operator the right that the API server denies, or wait for the child that goes.",
        ),
    ),
    "StatusRefused": (_AILING, _operator(Kind.OPERATOR, "Apply the CRD of the operator's version.")),
    "PodsNotEnding": (_AILING, _not_ending),
    "NameTaken": (_AILING, taken),
    "Drifted": (_AILING, _operator(Kind.DRIFT, "Change it back by hand, and edit the AsgdJob instead.")),
    "DriftFought": (_AILING, _operator(Kind.DRIFT, "Find out who changes it, and edit the AsgdJob instead.")),
}
REASONS = frozenset(_TABLE)


def stalled(facts: Facts, message: str, beside: Found | None) -> Found:
    """All pods are there, and no update comes. `beside`: what else Degraded tells, a better clue than nothing."""
    text = clause(message)
    if beside is not None:
        return Found(Kind.STALLED, f"{text}, and {beside.text}", beside.fix, beside.command, beside.field)
    return Found(
        Kind.STALLED, text,
        "Read where the logs of the workers end: a worker waits there in your code, or for a server.",
        facts.logs_of("worker"), "runPolicy.progressDeadlineSeconds",
    )  # fmt: skip
