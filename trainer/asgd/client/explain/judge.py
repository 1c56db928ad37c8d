"""`explain`: of all that could be said about a job, the one thing that comes first.

Who looks at it at all; whether it is over; whether it was accepted; what keeps its pods; what keeps it from training;
what hampers it. The first that is found is the answer, the others stand in `also`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from asgd.client.explain import degraded, pods, refusals, speed, troubles, verdicts, well
from asgd.client.explain.facts import Facts
from asgd.client.explain.kinds import Explanation, Found, Kind, Verdict
from asgd.client.explain.unseen import unseen
from asgd.client.explain.words import clause, full
from asgd.spec.status import DIVERGED, STOPPED_FOR_NOW, UNEVALUATED

Answer = tuple[Verdict, Found]
ALSO_MOST = 4
_SAYS = {
    Verdict.NOT_RUNNING: "{} is not running: {}",
    Verdict.QUEUED: "{} waits in a queue: {}",
    Verdict.SUSPENDED: "{} is suspended: {}",
    Verdict.FAILED: "{} has failed: {}",
    Verdict.SLOW: "{} trains slower than it could: {}",
    Verdict.DEGRADED: "{} trains, and something is wrong: {}",
    Verdict.FINE: "{} is fine: {}",
}
_STARTS = {"ParameterServersReady": "server", "WorkersReady": "worker"}
_BLOCKS_THE_START = frozenset(
    {"OperatorBug", "ReconcileFailed", "NameTaken", "KeysLost", "PodsNotEnding", "OperatorOutdated"}
)
"""Reasons of Degraded that explain why a job does not come up."""

_AILS = frozenset({Kind.PUSHES_REFUSED, Kind.CHECKPOINT_FAILING})
"""Of the findings of `speed`, those that cost no speed."""


def explain(facts: Facts, now: datetime) -> Explanation:
    """The answer for `facts` as they are at `now`, which has a time zone."""
    answers = _answers(facts, now)
    verdict, found = next(answers)
    rest = _told_beside(facts, answers, found) if verdict in (Verdict.SLOW, Verdict.DEGRADED) else ()
    return Explanation(
        verdict=verdict,
        kind=found.kind,
        sentence=full(_SAYS[verdict].format(facts.name, found.text)),
        fix=found.fix,
        command=found.command,
        field=found.field,
        also=tuple(rest),
    )


def _told_beside(facts: Facts, answers: Iterator[Answer], first: Found) -> list[str]:
    """NB: Degraded and shard 0 may tell the same thing; one of each kind is enough."""
    kinds, told = {first.kind}, []
    for _, found in answers:
        if found.kind not in kinds and found.kind is not Kind.TRAINS:
            kinds.add(found.kind)
            told.append(full(found.text[:1].upper() + found.text[1:]))
    return told[:ALSO_MOST]


def _answers(facts: Facts, now: datetime) -> Iterator[Answer]:
    """Never empty; the first one counts."""
    over = facts.holds("Failed") or facts.holds("Complete")
    if not over and (found := unseen(facts, now)):
        yield Verdict.NOT_RUNNING, found
    if facts.holds("Failed"):
        yield Verdict.FAILED, verdicts.failed(facts)
    if facts.holds("Complete"):
        yield Verdict.FINE, well.done(facts)
    yield from _resting(facts)
    # NB: while a job ends, pods that are gone are no trouble.
    yield from _stopping(facts)
    yield from _starting(facts)
    yield from _stalled(facts)
    if answer := degraded.degraded(facts):
        yield answer
    for found in speed.findings(facts):
        yield (Verdict.DEGRADED if found.kind in _AILS else Verdict.SLOW), found
    yield Verdict.FINE, well.trains(facts, now)


def _resting(facts: Facts) -> Iterator[Answer]:
    """Deleted, not accepted, suspended, queued."""
    hindered = degraded.degraded(facts) if facts.reason("Degraded") == "PodsNotEnding" else None
    if "deletionTimestamp" in (facts.job or {}).get("metadata", {}):
        yield Verdict.NOT_RUNNING, hindered[1] if hindered else well.ending(facts, "it is being deleted")
    if facts.conditions.get("Accepted", {}).get("status") == "False":
        yield Verdict.DEGRADED if facts.holds("Running") else Verdict.NOT_RUNNING, refusals.job(facts)
    if facts.suspended:
        yield Verdict.SUSPENDED, hindered[1] if hindered else well.suspended(facts)
    if facts.reason("WorkersReady") == "Queued":
        yield Verdict.QUEUED, well.queued(facts)


def _stopping(facts: Facts) -> Iterator[Answer]:
    """The job is on its way to its end; shard 0 knows so before the operator has asked it."""
    reason = facts.report.stop_reason if facts.report else ""
    if failed := {DIVERGED: "Diverged", UNEVALUATED: "EvaluationFailed"}.get(reason):
        detail = facts.report.stop_detail if facts.report else ""
        yield Verdict.FAILED, verdicts.of(facts, failed, detail or "shard 0 has stopped the job")
    elif reason not in STOPPED_FOR_NOW or facts.reason("Running") == "Completing":
        yield Verdict.FINE, well.completing(facts)


def _starting(facts: Facts) -> Iterator[Answer]:
    """Servers or workers are not ready."""
    for kind, role in _STARTS.items():
        if facts.conditions.get(kind, {}).get("status") != "False":
            continue
        found = troubles.explained(facts, facts.reason(kind), facts.message(kind))
        # NB: a pod may say what the operator has not heard yet.
        if found is None and (seen := pods.trouble(facts, role)):
            found = troubles.explained(facts, *seen)
        if found is None and facts.holds("Degraded") and facts.reason("Degraded") in _BLOCKS_THE_START:
            answer = degraded.degraded(facts)
            found = answer[1] if answer else None
        yield Verdict.NOT_RUNNING, found or _on_its_way(facts, kind)


def _on_its_way(facts: Facts, kind: str) -> Found:
    """Nothing is wrong yet, as far as anybody says."""
    reason, text = facts.reason(kind), clause(facts.message(kind))
    name = facts.at("scheduling.schedulerName")
    if "waits for the scheduler" in text:
        path = "scheduling.schedulerName"
        fix = (
            f"Start the scheduler {name}, or mend {path}."
            if name
            else "Look after the cluster's scheduler: it is away or late."
        )
        return Found(
            Kind.NO_SCHEDULER,
            text,
            fix,
            facts.change(path) if name else "kubectl -n kube-system get pods",
            path if name else "",
        )
    again = reason == "Restoring"
    watch = facts.kubectl("get", "pods", "-l", f"asgd.dev/job-name={facts.name}", "--watch")
    return Found(
        Kind.RESTORING if again else Kind.STARTING,
        ("a parameter server has gone and comes back: " if again else "it is starting: ") + (text or reason),
        "Wait: nothing is wrong as far as anybody says.", watch,
    )  # fmt: skip


def _stalled(facts: Facts) -> Iterator[Answer]:
    """All pods are there, and no update comes."""
    if facts.reason("Running") == "Stalled":
        answer = degraded.degraded(facts)
        beside = answer[1] if answer and answer[1].kind is not Kind.STALLED else None
        yield Verdict.NOT_RUNNING, degraded.stalled(facts, facts.message("Running"), beside)
