"""Autoscale: `status.workers.autoscale` holds what `asgd.spec.autoscaling` has decided, and nothing else does.

A pass decides and writes; the next one finds the number in the status and treats it as `workers.replicas` in all that
it plans and renders. So a number is acted on only when it stands written, and an operator that restarts goes on where
it was. The spec is its user's alone: nothing here is ever written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgd.spec.autoscaling import Pending, Queue, Refused, Scale, begin, decide, look_again, sized
from asgd.spec.types import Autoscale, Job
from asgd_operator.constants import Role
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
        found["pending"] = {"workers": now.pending.workers, "since": _written(now.pending.since)}
    if now.changed:
        found["changeTime"] = _written(now.changed)
    if now.granted:
        found["granted"] = now.granted
    if now.refused is not None:
        found["refused"] = {"workers": now.refused.workers, "time": _written(now.refused.at)}
    return found


def decided(o: Observed, rule: Autoscale) -> Scale:
    """What holds from this pass on."""
    before = _read(o.status.get("workers", {}).get("autoscale", {}))
    gone = o.workers.failed_indexes if o.workers is not None else 0
    advice = o.report.advice if o.report is not None and _trains(o) else None
    now = o.now.timestamp()
    return decide(rule, o.start_workers, before, advice, now, given_up=gone, queue=_queue(o, before))


def _queue(o: Observed, before: Scale | None) -> Queue | None:
    """What the queue makes of the workers; None where the job names none."""
    name = o.spec.scheduling.queue_name if o.spec else ""
    if not name:
        return None
    if o.workers is None or o.waits_in_queue:
        return Queue(name, waits=True)
    changed, pods = before.changed if before else 0.0, o.pods_of(Role.WORKER)
    # NB: a pod that has ended may be left from before the number was changed.
    mine = [pod for pod in pods if not pod.over or (pod.created and pod.created.timestamp() >= changed)]
    said = o.queue_says.get(o.workers.uid)
    return Queue(
        name,
        in_place=o.workers.in_place,
        waiting={pod.index for pod in mine if pod.gated},
        started={pod.index for pod in mine if not pod.gated},
        reserved=said is not None and said.reserved,
    )


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
    waits, refused = _dated(block.get("pending", {}), "since"), _dated(block.get("refused", {}), "time")
    changed, granted = times.read(block.get("changeTime")), block.get("granted", 0)
    return Scale(
        workers,
        start,
        str(block.get("reason", "")),
        str(block.get("direction", "")),
        Pending(*waits) if waits else None,
        changed.timestamp() if changed else 0.0,
        granted if isinstance(granted, int) else 0,
        Refused(*refused) if refused else None,
    )


def _dated(block: Block, name: str) -> tuple[int, float] | None:
    """A number of workers, and the time that stands beside it under `name`."""
    workers, at = block.get("workers"), times.read(block.get(name))
    return (workers, at.timestamp()) if isinstance(workers, int) and at is not None else None


def _written(seconds: float) -> str:
    return times.write(times.after_epoch(seconds))
