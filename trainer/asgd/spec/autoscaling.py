"""How many workers a job with `workers.autoscale` shall have: from the advice, the bounds, and what was decided before.

Advice is believed for twice the workers that it was measured with, so a job grows in steps: 2, 4, 8. Each step waits
until all workers are there and new advice comes of them; that is the pause between two steps. Workers are taken away
only when fewer were advised for the whole stabilisation window, and then as few as the highest advice of that time
allows. After workers were taken away, some are added again only after such a window too. So the number turns round at
most once a window.

Pure; all that is remembered is in `Scale`, which its owner keeps: the operator in the job's status, the simulator in
memory. Times are seconds on any one clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from asgd.spec.status import Advice
from asgd.spec.types import Autoscale, Job, JobSpec

UP, DOWN = "Up", "Down"


@dataclass(frozen=True, slots=True)
class Pending:
    """Another number is advised, and waits for the stabilisation window."""

    workers: int
    """The one nearest to the number in force that was advised since."""
    since: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What was decided so far."""

    workers: int
    """The number in force."""
    start: int
    """`workers.replicas` when it began."""
    reason: str = ""
    """Why it is this number, without a full stop; empty: it is the one to start with."""
    direction: str = ""
    """UP or DOWN: where the advice led last; empty: nowhere yet."""
    pending: Pending | None = None


def begin(rule: Autoscale, replicas: int) -> Scale:
    """Before there is any advice."""
    return Scale(_within(rule, replicas), replicas)


def decide(
    rule: Autoscale, replicas: int, before: Scale | None, advice: Advice | None, now: float, *, given_up: int = 0
) -> Scale:  # fmt: skip
    """What holds from now on. `replicas`: the number to start with, which begins anew when it is another one.

    `advice` is None while the job does not train, or has none. `given_up`: workers of the number in force that will
    never be there again.
    """
    if before is None or before.start != replicas:
        return begin(rule, replicas)
    bounded = _within(rule, before.workers)
    if bounded != before.workers:
        bound = "max" if bounded < before.workers else "min"
        return replace(
            before, workers=bounded, reason=f"workers.autoscale.{bound} is {bounded}", pending=None
        )
    wanted = _wanted(rule, before, advice, given_up)
    if advice is None or wanted == before.workers:
        return replace(before, pending=None)
    direction = UP if wanted > before.workers else DOWN
    if direction == UP and before.direction != DOWN:
        return _changed(rule, before, wanted, advice)
    nearest, since = wanted, now
    if (pending := before.pending) and (pending.workers > before.workers) == (direction == UP):
        nearest = min(pending.workers, wanted) if direction == UP else max(pending.workers, wanted)
        since = pending.since
    if now - since >= rule.stabilization_window_seconds:
        return _changed(rule, before, nearest, advice)
    return replace(before, pending=Pending(nearest, since))


def look_again(rule: Autoscale, scale: Scale, now: float) -> float | None:
    """Seconds until the window of what is pending is over; None: nothing is."""
    if scale.pending is None:
        return None
    return max(0.0, scale.pending.since + rule.stabilization_window_seconds - now)


def own_hardware(spec: JobSpec) -> bool:
    """Whether each worker is given cores or devices of its own. If not, and all share a node, nobody can tell whether
    more of them would help."""
    workers = spec.workers
    asked = {**(workers.resources.get("limits") or {}), **(workers.resources.get("requests") or {})}
    return bool(workers.devices.count) or "cpu" in asked


def wanted(document: Mapping[str, Any]) -> Any:
    """How many workers the job shall have that an API server gives as `document`; None where it does not say."""
    spec = (document.get("spec") or {}).get("workers") or {}
    found = ((document.get("status") or {}).get("workers") or {}).get("autoscale") or {}
    return found.get("workers", spec.get("replicas")) if spec.get("autoscale") else spec.get("replicas")


def sized(job: Job, workers: int) -> Job:
    """`job` as if its user had written this number as `workers.replicas`."""
    if workers == job.spec.workers.replicas:
        return job
    spec = msgspec.structs.replace(
        job.spec, workers=msgspec.structs.replace(job.spec.workers, replicas=workers)
    )
    written = job.document["spec"]
    document = {
        **job.document,
        "spec": {**written, "workers": {**written.get("workers", {}), "replicas": workers}},
    }
    return msgspec.structs.replace(job, spec=spec, document=document)


def _wanted(rule: Autoscale, before: Scale, advice: Advice | None, given_up: int) -> int:
    """The number that the advice of this moment leads to; the one in force where it says nothing about that."""
    if advice is None or not advice.measured:
        return before.workers
    there, expected = advice.measured, before.workers - given_up
    # NB: advice of fewer workers than there will be says nothing on still more, nor that those to come are too many.
    if there > before.workers or (advice.workers > there and there < expected):
        return before.workers
    return _within(rule, advice.workers)


def _changed(rule: Autoscale, before: Scale, workers: int, advice: Advice) -> Scale:
    reason = advice.text
    if workers != advice.workers and workers in (rule.min, rule.max):
        reason += f"; workers.autoscale.{'max' if workers < advice.workers else 'min'} is {workers}"
    return Scale(workers, before.start, reason, UP if workers > before.workers else DOWN)


def _within(rule: Autoscale, workers: int) -> int:
    return max(rule.min, min(rule.max, workers))
