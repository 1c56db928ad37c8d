"""The first thing on the page: is it learning, how fast, until when; and what is wrong, with what to do about it.

Pure. `findings` are ordered: what keeps the job from going on comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from asgd.report import units
from asgd.spec.phases import DATA, PUSH, WAIT
from asgd.spec.status import Status
from asgd.spec.types import StopAfter

WINDOW_SECONDS = 30.0
"""A trend compares the newest third of so long, or of the whole run, with the third before."""
SILENT_SECONDS = 5.0
"""Shard 0 may be silent for so long before that is told."""
SAME = 0.01
"""A loss that has moved by less is called flat."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at. `command` names one of `commands.py`."""

    tone: str
    """bad | warn"""
    text: str
    do: str
    command: str = ""
    number: int | None = None
    """Of the worker or shard that the command is about."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known beside the newest status."""

    losses: Sequence[tuple[float, float]] = ()
    """(t, loss), rising in time."""
    shares: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    """Of the workers' time by phase, lately."""
    busy: Mapping[int, float] = field(default_factory=dict)
    """{shard: part of the last seconds in which it served}"""
    bound: int | None = None
    """Of staleness."""
    waits: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """{worker that others wait for: those}"""
    heard_ago: float = 0.0
    """Since shard 0 has answered."""
    unread: str = ""
    """Why its answer cannot be read."""


def trend(losses: Sequence[tuple[float, float]]) -> float | None:
    """By which part the loss has changed lately (-0.5: halved); None while it cannot be told."""
    finite = [(t, loss) for t, loss in losses if math.isfinite(loss)]
    if len(finite) < 6:
        return None
    newest = finite[-1][0]
    span = min(WINDOW_SECONDS, newest - finite[0][0])
    late = [loss for t, loss in finite if t > newest - span / 3]
    early = [loss for t, loss in finite if newest - span <= t <= newest - 2 * span / 3]
    if not late or not early:
        return None
    first, last = sum(early) / len(early), sum(late) / len(late)
    return (last - first) / abs(first) if first else None


def headline(status: Status, seen: Seen) -> str:
    """One sentence: learning, speed, end."""
    if status.phase == "finished":
        return f"{_ended(status)}{_reached(status)}."
    if not status.updates:
        waits = f": it waits for {status.waiting_for}" if status.waiting_for else ""
        return f"Nothing has been learned yet, the job is {status.phase}{waits}."
    change = trend(seen.losses)
    if status.loss is not None and not math.isfinite(status.loss):
        learning = "The loss is not finite"
    elif change is None or status.loss is None:
        learning = f"It trains{_loss(status)}"
    elif change < -SAME:
        learning = (
            f"It is learning: the loss falls, {-change:.0%} lower than a moment ago{_loss(status, ', at')}"
        )
    elif change > 5 * SAME:
        rises = f"the loss rises, {change:.0%} higher than a moment ago"
        learning = f"It is not learning now: {rises}{_loss(status, ', at')}"
    else:
        learning = f"The loss is flat{_loss(status)}"
    speed = f"{units.rate(status.samples_per_second)} samples/s"
    if status.stop_reason:
        return f"{learning}; the job is {status.phase} ({status.stop_reason})."
    return f"{learning}{_reached(status)}; {speed}{_until(status)}."


def _loss(status: Status, join: str = " at") -> str:
    return "" if status.loss is None else f"{join} {units.number(status.loss)}"


def _reached(status: Status) -> str:
    name = status.stop_after.metric.name if status.stop_after.metric else next(iter(status.metrics), "")
    value = status.metrics.get(name)
    return "" if value is None else f", {name} {units.number(value)}"


def _ended(status: Status) -> str:
    took = f"after {spelled(status.seconds)} and {units.plural(status.updates, 'update')}"
    if status.stop_reason == "diverged":
        return f"It diverged {took}"
    if status.stop_reason in ("interrupted", "suspended", "stopped"):
        return f"It was {status.stop_reason} {took}{_loss(status, ', loss')}"
    return f"It is done {took} ({_rule(status)}){_loss(status, ', loss')}"


def _rule(status: Status) -> str:
    """The stop rule that has ended it."""
    rule = status.stop_after
    asked = {
        "epochs": StopAfter(epochs=rule.epochs), "updates": StopAfter(updates=rule.updates),
        "samples": StopAfter(samples=rule.samples), "metric": StopAfter(metric=rule.metric),
        "patience": StopAfter(patience=rule.patience), "seconds": StopAfter(seconds=rule.seconds),
    }.get(status.stop_reason)  # fmt: skip
    said = units.stop_rule(asked) if asked else ""
    return f"stop rule: {said}" if said else status.stop_reason


def spelled(seconds: float) -> str:
    """A duration, alike in the sentence and in the figures that the page's scripts write."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _until(status: Status) -> str:
    if status.eta_seconds is not None and status.progress is not None:
        return f"; {status.progress:.0%} done, about {spelled(max(1.0, status.eta_seconds))} left"
    metric = status.stop_after.metric
    return f"; until {units.target(metric)}" if metric else "; until it is stopped"


def findings(status: Status, seen: Seen) -> list[Finding]:
    """What is wrong now, the worst first; nothing for a job in good health."""
    if status.phase == "finished":
        return [*_of_the_end(status)]
    found = [*_of_going_on(status, seen), *_of_losses(status)]
    return sorted([*found, *_of_speed(status, seen)], key=lambda finding: finding.tone != "bad")


def _of_the_end(status: Status) -> Iterator[Finding]:
    if status.stop_reason == "diverged":
        detail = status.stop_detail or "pushes were not finite, or the loss left all bounds"
        yield Finding(
            "bad", f"It diverged: {detail}",
            "A smaller optimizer.learningRate may help, or onDivergence: Rollback, which goes back by itself.", "again",
        )  # fmt: skip
    if status.evaluation_error:
        yield Finding(
            "bad", f"The last evaluation failed: {status.evaluation_error}", "Mend Task.evaluate.", "resume"
        )


def unreadable(why: str) -> Iterator[Finding]:
    """That shard 0 answers and the page cannot read it; nothing where `why` is empty."""
    if why:
        yield Finding(
            "bad", f"What shard 0 answers cannot be read: {why}",
            "Training goes on without the page; the server's image and the page's may be of two versions.",
            "status",
        )  # fmt: skip


def _of_going_on(status: Status, seen: Seen) -> Iterator[Finding]:
    yield from unreadable(seen.unread)
    if seen.heard_ago > SILENT_SECONDS and not seen.unread:
        yield Finding(
            "bad", f"Shard 0 has not answered for {seen.heard_ago:.0f} s",
            "It is started again by itself; its log says why it went.", "shard", 0,
        )  # fmt: skip
    stalled = [worker.index for worker in status.workers if worker.state == "stalled"]
    named = len(stalled) == 1 and status.waiting_for.startswith(f"worker {stalled[0]} ")
    if status.waiting_for and not named and (status.updates or not stalled):
        yield Finding(
            "bad" if status.updates else "warn", f"It waits: {status.waiting_for}",
            "If this is not expected, look at the log of who is waited for.",
            "worker" if stalled else "status", stalled[0] if stalled else None,
        )  # fmt: skip
    for index in stalled[:4]:
        yield Finding(
            "bad", f"Worker {index} makes no progress",
            f"{status.waiting_for.replace('worker', 'Worker', 1)}. Its log ends where it stands." if named else
            "Its log ends where it stands; it is given up and started again by itself.", "worker", index,
        )  # fmt: skip
    if status.checkpoint_error:
        yield Finding(
            "bad", f"Checkpoints fail: {status.checkpoint_error}",
            "Training goes on, a restart would lose what came since; make room or mend the store.",
            "checkpoints",
        )  # fmt: skip
    newest = {worker.index: worker for worker in status.workers}
    gone = [index for index, worker in newest.items() if worker.state in ("lost", "hung")]
    if gone:
        which = f"Worker{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone[:8]))}"
        yield Finding(
            "warn", f"{which} {'are' if len(gone) > 1 else 'is'} away",
            "It is started again within its budget of restarts; its log says why it ended.", "worker", gone[0],
        )  # fmt: skip
    if status.evaluation_error:
        yield Finding(
            "warn", f"The newest evaluation failed: {status.evaluation_error}", "Training goes on.", "events"
        )


def _of_losses(status: Status) -> Iterator[Finding]:
    refused = sum(status.refused.values())
    if refused > 0.02 * (status.updates + refused):
        worst = max(status.refused, key=lambda reason: status.refused[reason])
        do = {
            "stale": "Allow more (exchange.staleness.max), scale them (policy: Scale), or run fewer workers.",
            "nonfinite": "A smaller learning rate or optimizer.clipNorm; look at the data of the workers named.",
            "outlier": "Look at the workers named below.",
        }.get(worst, "The table of losses says which.")
        yield Finding(
            "warn", f"{refused / (status.updates + refused):.0%} of all pushes are refused, most as {worst}",
            do, "" if worst == "stale" else "losses",
        )  # fmt: skip
    if status.rejected_workers:
        names = ", ".join(map(str, status.rejected_workers[:8]))
        yield Finding(
            "warn", f"Not listened to: worker {names}",
            "What it sends wanders off from the others': look at its data.", "worker",
            status.rejected_workers[0],
        )  # fmt: skip


def _of_speed(status: Status, seen: Seen) -> Iterator[Finding]:
    busiest = max(seen.busy, key=lambda shard: seen.busy[shard], default=None)
    if busiest is not None and seen.busy[busiest] > 0.9:
        yield Finding(
            "warn", f"Shard {busiest} is at its limit: it serves {seen.busy[busiest]:.0%} of the time",
            "Add a shard (parameterServer.shards), push less often (exchange.pushEvery), or run fewer workers.",
            "shard", busiest,
        )  # fmt: skip
    if seen.shares[DATA] > 0.4:
        yield Finding(
            "warn", f"Workers spend {seen.shares[DATA]:.0%} of their time on reading data",
            "Give the DataLoader num_workers, or read faster: the servers are not the limit.", "worker", 0,
        )  # fmt: skip
    if seen.shares[PUSH] > 0.5:
        yield Finding(
            "warn", f"Workers spend {seen.shares[PUSH]:.0%} of their time on exchanges",
            "exchange.ahead: 1 hides them behind the next step; larger batches or pushEvery make them rarer.",
            "spec",
        )  # fmt: skip
    slowest = max(seen.waits, key=lambda worker: len(seen.waits[worker]), default=None)
    if slowest is not None and seen.shares[WAIT] > 0.4:
        yield Finding(
            "warn", f"{len(seen.waits[slowest])} wait for worker {slowest}, and waiting is"
            f" {seen.shares[WAIT]:.0%} of all time",
            "It is slower than the others: give it their hardware, or more staleness to the rest.", "worker",
            slowest,
        )  # fmt: skip
    told = status.refused.get("stale", 0) > 0.02 * status.updates
    if seen.bound is not None and status.staleness.p99 >= seen.bound > 0 and not told:
        yield Finding(
            "warn", f"Staleness has reached its bound of {seen.bound}", "Pushes beyond it are refused, scaled or wait.",
        )  # fmt: skip
