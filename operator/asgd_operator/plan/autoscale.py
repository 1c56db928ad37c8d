"""Autoscale: `status.workers.autoscale` holds what `asgd.spec.autoscaling` has decided, and nothing else does.

A pass decides and writes; the next one finds the number in the status and treats it as `workers.replicas` in all that
it plans and renders. So a number is acted on only when it stands written, and an operator that restarts goes on where
it was. The spec is its user's alone: nothing here is ever written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgd.spec.autoscaling import Pending, Scale, begin, decide, look_again, sized
from asgd.spec.types import Autoscale, Job
from asgd_operator.plan import success, times
from asgd_operator.plan.actions import Step
from asgd_operator.plan.model import Observed

Block = Mapping[str, Any]


def applied(job: Job, status: Mapping[str, Any]) -> Job:
    """`job` with the number of workers that is in force now in place of `workers.replicas`."""
    rule, replicas = job.spec.workers.autoscale, job.spec.workers.replicas
    if rule is None:
        return job
    known = _read(status.get("workers", {}).get("autoscale", {}))
    if known is None or known.start != replicas:
        known = begin(rule, replicas)
    return sized(job, known.workers)


def derive(o: Observed) -> dict[str, Any]:
    """The block as it should stand now; empty without autoscale."""
    before = o.status.get("workers", {}).get("autoscale", {})
    if o.finished or o.spec is None:
        return dict(before)
    rule = o.spec.workers.autoscale
    if rule is None:
        return {}
    now = decided(o, rule)
    found: dict[str, Any] = {"workers": now.workers, "start": now.start}
    found |= {name: value for name in ("reason", "direction") if (value := getattr(now, name))}
    if now.pending is not None:
        since = times.write(times.after_epoch(now.pending.since))
        found["pending"] = {"workers": now.pending.workers, "since": since}
    if before and now.workers != before.get("workers"):
        return found | {"changeTime": times.write(o.now)}
    return found | {name: before[name] for name in ("changeTime",) if name in before}


def decided(o: Observed, rule: Autoscale) -> Scale:
    """What holds from this pass on."""
    before = _read(o.status.get("workers", {}).get("autoscale", {}))
    gone = o.workers.failed_indexes if o.workers is not None else 0
    advice = o.report.advice if o.report is not None and _trains(o) else None
    return decide(rule, o.start_workers, before, advice, o.now.timestamp(), given_up=gone)


def step(o: Observed) -> Step:
    """Looks again when what is advised has waited for long enough; `scale` makes the number true."""
    rule = o.spec.workers.autoscale if o.spec is not None else None
    return Step(look_again=look_again(rule, decided(o, rule), o.now.timestamp())) if rule else Step()


def reason(o: Observed) -> str:
    """Why the number of workers is what it is; empty where its user has set it."""
    return str(o.status.get("workers", {}).get("autoscale", {}).get("reason", ""))


def _trains(o: Observed) -> bool:
    return o.launched and o.servers_ready and not success.completing(o)


def _read(block: Block) -> Scale | None:
    """What a former pass has decided; None where it has not."""
    workers, start = block.get("workers"), block.get("start")
    if not isinstance(workers, int) or not isinstance(start, int):
        return None
    waits = block.get("pending", {})
    since, pending = times.read(waits.get("since")), None
    if since is not None and isinstance(waits.get("workers"), int):
        pending = Pending(waits["workers"], since.timestamp())
    return Scale(workers, start, str(block.get("reason", "")), str(block.get("direction", "")), pending)
