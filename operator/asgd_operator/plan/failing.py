"""A job that the operator itself fails on: what its user is told, and for how long.

A bug is told at once. What the API server answers is told when several tries in a row have failed, for most of it is
over by then. The first sentence stands until a pass succeeds: one that moved with each try would make each try write,
and each write another try.
"""

from __future__ import annotations

from collections.abc import Iterator

from asgd_operator.constants import Condition, EventReason
from asgd_operator.plan import conditions, fitting, kstatus, refused
from asgd_operator.plan.actions import Event, Plan
from asgd_operator.plan.conditions import Judgement
from asgd_operator.plan.model import Observed, Problem

BUG = "OperatorBug"
REFUSED = "ReconcileFailed"
TRIES = 4
"""Failures in a row until the API server's answer is told: about four seconds of backoff."""


def problem(error: str, failures: int, *, bug: bool) -> Problem | None:
    """What to tell of a failure, the `failures`th in a row; None while it may be over at the next try."""
    if bug:
        says = f"The operator fails on this job, which is a fault of its own: {error}. It tries again."
        return Problem(BUG, says)
    if failures < TRIES:
        return None
    return Problem(REFUSED, f"The operator cannot go on with this job: {error.rstrip('.')}. It tries again.")


def is_news(found: Problem, told: Problem | None) -> bool:
    """Whether `found` is to be told where `told` stands already."""
    return told is None or (found.reason == BUG and told.reason != BUG)


def notice(o: Observed, found: Problem) -> Plan:
    """The status as it stood with the failure in it: nothing else can be said of a job that cannot be looked at."""
    before = o.condition(Condition.DEGRADED)
    known = (before.get("status"), before.get("reason")) == ("True", found.reason)
    judged = [*conditions.merge(o, [_judgement(found)]), *kstatus.kept(o)]
    status = fitting.fit({**o.status, "conditions": judged})
    return Plan(status=status, events=() if known else (event(found),))


def event(found: Problem) -> Event:
    reason = EventReason.OPERATOR_BUG if found.reason == BUG else EventReason.RECONCILE_FAILED
    return Event(reason, found.message, warning=True)


def judge(o: Observed) -> Iterator[Judgement]:
    """Degraded, as far as the operator's own failure decides it; nothing where it does not."""
    if o.failing is not None:
        yield _judgement(o.failing)
    elif o.condition(Condition.DEGRADED).get("reason") in _over(o):
        yield Judgement(Condition.DEGRADED, False, "AsExpected")


def _over(o: Observed) -> frozenset[str]:
    """Reasons that a pass takes back. NB: what a finished job's status lacks is gone, and it goes on saying so."""
    return frozenset({BUG, REFUSED} if o.finished else {BUG, REFUSED, refused.REASON})


def _judgement(found: Problem) -> Judgement:
    return Judgement(Condition.DEGRADED, True, found.reason, found.message)
