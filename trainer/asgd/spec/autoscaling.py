"""How many workers a job with `workers.autoscale` shall have: from the advice, the bounds, and what was decided before.

Advice is believed for twice the workers that it was measured with, so a job grows in steps: 2, 4, 8. Each step waits
until all workers are there and new advice comes of them; that is the pause between two steps. Workers are taken away
only when fewer were advised for the whole stabilisation window, and then as few as the highest advice of that time
allows. After workers were taken away, some are added again only after such a window too. So the number turns round at
most once a window.

A queue is asked for more workers, and may not have them. While it is asked, it starts no worker again that has failed,
and cannot take the others back (Kueue 0.17). So it is asked for a minute only; then the number is again what the queue
has let start, and of the numbers between the two the middle one is asked for next. Where another number would make the
queue start all workers anew, the number stays as it is. Workers that the queue has taken back come again as few as at
the start, which it has room for sooner.

Pure; all that is remembered is in `Scale`, which its owner keeps: the operator in the job's status, the simulator in
memory. Times are seconds on any one clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from asgd.spec.status import Advice
from asgd.spec.types import Autoscale, Job, JobSpec

UP, DOWN = "Up", "Down"
STARTS_ANEW = (
    "queue {} would start all workers anew for another number: its Kueue has the feature gate"
    " ElasticJobsViaWorkloadSlices off"
)
ASK_LEAST_SECONDS, ASK_MOST_SECONDS = 10.0, 60.0
"""A queue is asked for more workers for the stabilisation window, but within these bounds."""
REFUSED_SECONDS = 1800.0
"""So long after a queue had no room for a number, none as large is asked for."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Another number is advised, and waits for the stabilisation window."""

    workers: int
    """The one nearest to the number in force that was advised since."""
    since: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A queue had no room for so many workers."""

    workers: int
    at: float


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queue makes of the workers now, by their indices."""

    name: str
    waits: bool = False
    """It lets none of them go: not yet, or it has taken them back."""
    in_place: bool = True
    """It can let more start, or fewer stay, and leave the others alone."""
    waiting: Collection[int] = ()
    """It has not let them start."""
    started: Collection[int] = ()
    """It has, sometime."""
    reserved: bool = False
    """It has room for those that wait, and only prepares it."""


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
    changed: float = 0.0
    """When it became this number; 0: it is the one to start with."""
    granted: int = 0
    """The newest number all of whose workers a queue has let start; 0: none yet, or there is no queue."""
    refused: Refused | None = None


def begin(rule: Autoscale, replicas: int) -> Scale:
    """Before there is any advice."""
    return Scale(_within(rule, replicas), replicas)


def decide(
    rule: Autoscale, replicas: int, before: Scale | None, advice: Advice | None, now: float, *, given_up: int = 0,
    queue: Queue | None = None,
) -> Scale:  # fmt: skip
    """What holds from now on. `replicas`: the number to start with, which begins anew when it is another one.

    `advice` is None while the job does not train, or has none. `given_up`: workers of the number in force that will
    never be there again. `queue`: the one that decides when workers start; None: nobody does.
    """
    if before is None or before.start != replicas:
        return begin(rule, replicas)
    if queue is not None and queue.waits:
        return _anew(rule, before, queue, now)
    before = before if queue is None else _noted(before, queue, now)
    bounded = _within(rule, before.workers)
    if bounded != before.workers:
        bound = "max" if bounded < before.workers else "min"
        return _set(before, bounded, f"workers.autoscale.{bound} is {bounded}", before.direction, now)
    if queue is not None and _given_back(rule, before, queue, now):
        return _withdrawn(rule, before, queue, now)
    wanted = _wanted(rule, before, advice, given_up)
    if queue is not None and wanted != before.workers and not queue.in_place:
        return replace(before, pending=None, reason=STARTS_ANEW.format(queue.name))
    wanted = _asked(before, wanted)
    if advice is None or wanted == before.workers:
        return replace(before, pending=None)
    direction = UP if wanted > before.workers else DOWN
    if direction == UP and before.direction != DOWN:
        return _changed(rule, before, wanted, advice, now, queue)
    nearest, since = wanted, now
    if (pending := before.pending) and (pending.workers > before.workers) == (direction == UP):
        nearest = min(pending.workers, wanted) if direction == UP else max(pending.workers, wanted)
        since = pending.since
    if now - since >= rule.stabilization_window_seconds:
        return _changed(rule, before, nearest, advice, now, queue)
    return replace(before, pending=Pending(nearest, since))


def look_again(rule: Autoscale, scale: Scale, now: float) -> float | None:
    """Seconds until time alone changes something; None: it does not."""
    due = []
    if scale.pending is not None:
        due.append(scale.pending.since + rule.stabilization_window_seconds)
    if 0 < scale.granted < scale.workers:
        due.append(scale.changed + _asking_seconds(rule))
    if scale.refused is not None:
        due.append(scale.refused.at + REFUSED_SECONDS)
    return max(0.0, min(due) - now) if due else None


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


def _changed(
    rule: Autoscale, before: Scale, workers: int, advice: Advice, now: float, queue: Queue | None
) -> Scale:
    reason = advice.text
    if workers != advice.workers and workers in (rule.min, rule.max):
        reason += f"; workers.autoscale.{'max' if workers < advice.workers else 'min'} is {workers}"
    if queue is not None and before.refused is not None and before.refused.workers <= advice.workers:
        reason += f"; {_no_room(queue, before.refused.workers)}"
    return _set(before, workers, reason, UP if workers > before.workers else DOWN, now)


def _set(before: Scale, workers: int, reason: str, direction: str, now: float) -> Scale:
    granted = min(before.granted, workers)
    return Scale(workers, before.start, reason, direction, None, now, granted, before.refused)


def _anew(rule: Autoscale, before: Scale, queue: Queue, now: float) -> Scale:
    """All workers are to be let go once more."""
    first = begin(rule, before.start)
    if first.workers == before.workers:
        return replace(before, pending=None, granted=0, refused=None)
    why = (
        f"the workers have to pass queue {queue.name} again, and {first.workers} is the number to start with"
    )
    return replace(first, reason=why, changed=now)


def _noted(before: Scale, queue: Queue, now: float) -> Scale:
    """With what the queue has granted by now; what it has refused is forgotten when it has, and after a while."""
    asked = range(before.granted, before.workers)
    if all(index in queue.started and index not in queue.waiting for index in asked):
        before = replace(before, granted=before.workers)
    refused = before.refused
    if refused and (before.granted >= refused.workers or now - refused.at >= REFUSED_SECONDS):
        return replace(before, refused=None)
    return before


def _given_back(rule: Autoscale, before: Scale, queue: Queue, now: float) -> bool:
    """Whether the queue has been asked for long enough. NB: those of the number before may wait for a moment, too."""
    asked = range(before.granted, before.workers)
    held = before.granted > 0 and any(index in queue.waiting for index in asked)
    fewer = _within(rule, before.granted) < before.workers
    return held and fewer and not queue.reserved and now - before.changed >= _asking_seconds(rule)


def _withdrawn(rule: Autoscale, before: Scale, queue: Queue, now: float) -> Scale:
    found = _set(
        before, _within(rule, before.granted), _no_room(queue, before.workers), DOWN, now
    )  # fmt: skip
    return replace(found, refused=Refused(before.workers, now))


def _asked(before: Scale, wanted: int) -> int:
    """NB: a number that was refused is not asked for, but the middle of the way there."""
    if before.refused is None or wanted < before.refused.workers:
        return wanted
    return max(before.workers, (before.workers + before.refused.workers) // 2)


def _asking_seconds(rule: Autoscale) -> float:
    return min(ASK_MOST_SECONDS, max(ASK_LEAST_SECONDS, rule.stabilization_window_seconds))


def _no_room(queue: Queue, workers: int) -> str:
    return f"queue {queue.name} has no room for {workers} workers"


def _within(rule: Autoscale, workers: int) -> int:
    return max(rule.min, min(rule.max, workers))
