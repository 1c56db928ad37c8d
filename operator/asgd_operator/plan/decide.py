"""One pass: from what is observed to what is to be done and said. Pure; every rule it composes stands in its
own file.

A verdict is written before anything is cleaned up: the servers that would be removed are its evidence, and a
lost write must find them again. That is why a pass either concludes or acts.
"""

from __future__ import annotations

from collections.abc import Iterable

from asgd_operator.constants import Phase
from asgd_operator.plan import (
    autoscale,
    coming,
    deadlines,
    drift,
    ending,
    excuse,
    failure,
    keys,
    nodeloss,
    prompt,
    queueing,
    scale,
    start,
    status,
    success,
    suspend,
    transitions,
    trouble,
    ttl,
)
from asgd_operator.plan.actions import Action, DeleteSelf, Plan, Step
from asgd_operator.plan.model import Observed
from asgd_operator.plan.verdict import Verdict

RECHECK_SECONDS = 30.0
"""How often a job that was not accepted is judged again: a claim or a quota may have come since."""


def plan(o: Observed) -> Plan:
    """The writes, the status and the events of this pass, and when to look again."""
    if o.deleting:
        return _terminating(o)
    if o.namespace_ends:
        # NB: a namespace deletes pods first and waits for them; the Job controller keeps a worker's failed pod until
        # it has made the next one, which it may not. It lets go of it when its Job goes, which goes with this job.
        return Plan(actions=(DeleteSelf(),))
    if o.awaits_report and (o.launched or _put_away(o)):
        return Plan(requeue_after=o.report_changes)
    found = _verdict(o)
    rescue = Step() if found or _idle(o) else deadlines.rescue(o)
    steps = [*_steps(o, found), rescue]
    derived = status.derive(o, found, rescued=bool(rescue.actions))
    told = [event for step in steps for event in step.events]
    return Plan(
        status=derived,
        actions=_distinct(steps),
        events=(*transitions.events(o, derived), *told),
        requeue_after=_look_again(o, steps),
    )


def _terminating(o: Observed) -> Plan:
    """The garbage collector does the rest; nothing but a lost node keeps it from that."""
    step = nodeloss.step(o)
    said = {**o.status, "phase": Phase.TERMINATING.value} if o.status else None
    return Plan(said, step.actions, step.events, step.look_again)


def _verdict(o: Observed) -> Verdict | None:
    if _idle(o):
        return None
    if o.problem is not None and not o.launched:
        # NB: a job that was refused before it was started has no start time, holds nothing, and may wait.
        return deadlines.verdict(o)
    return success.verdict(o) or failure.verdict(o) or deadlines.verdict(o)


def _idle(o: Observed) -> bool:
    """Nothing is being trained, by decision."""
    return o.finished or o.spec is None or _put_away(o)


def _put_away(o: Observed) -> bool:
    return o.spec is not None and o.spec.run_policy.suspend


def _steps(o: Observed, verdict: Verdict | None) -> list[Step]:
    if o.finished:
        return [ttl.step(o), nodeloss.step(o)]
    if verdict is not None or o.spec is None:
        return []
    if o.spec.run_policy.suspend:
        return [suspend.step(o), nodeloss.step(o)]
    if o.problem is not None:
        return [nodeloss.step(o)]
    if start.outdated(o):
        return [start.step(o), nodeloss.step(o)]
    # NB: what cannot be put back must not keep the rest from being done.
    resized = [] if queueing.needs_another_job(o) else [scale.step(o)]
    sized = [queueing.step(o), *resized, autoscale.step(o), prompt.step(o)]
    return [start.step(o), *sized, excuse.step(o), nodeloss.step(o), keys.step(o), drift.step(o)]


def _distinct(steps: Iterable[Step]) -> tuple[Action, ...]:
    """Two policies may ask for the same write; it is made once."""
    found: list[Action] = []
    for step in steps:
        found += [action for action in step.actions if action not in found]
    return tuple(found)


def _look_again(o: Observed, steps: Iterable[Step]) -> float | None:
    waits = [o.report_changes, *(step.look_again for step in steps)]
    if not o.finished:
        waits += [ending.look_again(o), trouble.look_again(o), coming.look_again(o)]
    if not _idle(o):
        waits += [deadlines.look_again(o), success.look_again(o)]
    if (o.problem is not None or o.taken) and not o.finished:
        waits.append(RECHECK_SECONDS)
    return min((wait for wait in waits if wait is not None), default=None)
