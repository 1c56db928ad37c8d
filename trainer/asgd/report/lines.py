"""The lines of history.jsonl as types, tagged by `kind`, and what two following statuses say between them.

Pure: `progress`, `evaluation`, `events` turn statuses into lines, `history` writes them. Events are the
difference of two statuses, so whoever serves `/status` needs no event log of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct

from asgd.report.fields import taken
from asgd.spec.durations import merged
from asgd.spec.status import ServingView, StalenessView, Status, WorkerTimes, WorkerView
from asgd.spec.types import StopAfter


class Line(Struct, rename="camel", tag_field="kind", frozen=True):
    """What all lines have beside `kind`."""

    t: float
    """Seconds since the job's first start; it never runs backwards in a file."""


class Run(Line, tag="run", frozen=True):
    """A run begins or resumes; all lines up to the next of this kind are its own."""

    job: str
    algorithm: str
    samples: int = 0
    """Those of earlier runs."""
    updates: int = 0
    """Those of earlier runs."""
    stop_after: StopAfter = StopAfter()
    simulated: bool = False
    """All seconds are virtual."""


class Progress(Line, tag="progress", frozen=True):
    """Once a second, and the first and last status."""

    updates: int = 0
    samples: int = 0
    epochs: float = 0.0
    samples_per_second: float = 0.0
    updates_per_second: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    loss: float | None = None
    """Null when there is none or it is not finite."""
    scalars: dict[str, float | None] = {}
    """{name: recent mean} of what the loss function returns beside the loss."""
    staleness: StalenessView = StalenessView()
    workers: int = 0
    """How many are running."""
    refused: int = 0
    """Pushes, for whatever reason."""
    lost_updates: int = 0


class Evaluation(Line, tag="evaluation", frozen=True):
    """Metrics of the weights after `updates`; `t` is when the result was known."""

    updates: int
    samples: int
    """About as many as those updates brought."""
    metrics: dict[str, float | None]


class Member(Line, tag="member", frozen=True):
    """A worker joined, left (said goodbye), was lost or hung."""

    event: str
    """joined | left | lost | hung"""
    worker: int
    """Its index."""
    incarnation: int = 0
    """Which start of this index it is."""
    node: str = ""
    """Name of its machine."""


class Server(Line, tag="server", frozen=True):
    """A parameter server came back with a new term."""

    event: str
    """restarted"""
    shard: int
    """Its index."""
    term: int
    """How often it was started by now."""


class Histogram(Line, tag="staleness", frozen=True):
    """Staleness on shard 0 so far; now and then and at the end, for it can be long."""

    histogram: dict[int, int]
    """{staleness: accepted pushes}"""


class Timing(Line, tag="timing", frozen=True):
    """How long workers' steps and exchanges took, and shard 0's serving, in all of this run; as rare as `staleness`."""

    workers: dict[int, WorkerTimes]
    """{index: times}, all lives of a worker together."""
    serving: ServingView = ServingView()


class End(Line, tag="end", frozen=True):
    """The last line of a run that ended by itself; a killed one has none."""

    stop_reason: str = ""


AnyLine = Run | Progress | Evaluation | Member | Server | Histogram | Timing | End


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def run(status: Status, t: float, simulated: bool = False) -> Run:
    return taken(Run, status, t=t, simulated=simulated)


def progress(status: Status, t: float) -> Progress:
    running = sum(worker.alive for worker in status.workers)
    refused = sum(status.refused.values())
    return taken(Progress, status, t=t, loss=_finite(status.loss), workers=running, refused=refused)


def timing(status: Status, t: float) -> Timing:
    """All lives of a worker together."""
    lives: dict[int, list[WorkerTimes]] = {}
    for worker in status.workers:
        if worker.times.own.counts:
            lives.setdefault(worker.index, []).append(worker.times)
    return Timing(
        t=t, workers={index: together(times) for index, times in lives.items()}, serving=status.serving
    )


def together(times: list[WorkerTimes]) -> WorkerTimes:
    """Several lives as one."""
    return WorkerTimes(merged(life.own for life in times), merged(life.exchange for life in times))


def evaluation(status: Status, t: float) -> Evaluation:
    """Samples are scaled by updates: the weights that were measured are a little older than the status."""
    part = status.metrics_at_updates / status.updates if status.updates else 1.0
    return Evaluation(
        t=t,
        updates=status.metrics_at_updates,
        samples=round(status.samples * min(1.0, part)),
        metrics={name: _finite(value) for name, value in status.metrics.items()},
    )


def events(before: Status | None, now: Status, earliest: float, offset: float = 0.0) -> list[Member | Server]:
    """Members that came or went and servers that came back between two statuses, in the order of their times.

    The file's time is the status's plus `offset`. A worker's own times are used where they fall between
    `earliest` and now: a server that restarted may count anew.
    """
    t = now.seconds + offset
    known = {(w.index, w.incarnation): w for w in before.workers} if before else {}
    found: list[Member | Server] = []
    for worker in now.workers:
        found += _of_worker(known.get((worker.index, worker.incarnation)), worker, (earliest, t), offset)
    if before is not None:
        found += _of_servers(before.terms, now.terms, t)
    return sorted(found, key=lambda event: event.t)


def _of_worker(
    was: WorkerView | None, now: WorkerView, window: tuple[float, float], offset: float
) -> Iterator[Member]:
    earliest, t = window

    def at(event: str, moment: float | None) -> Member:
        time = t if moment is None else min(max(moment + offset, earliest), t)
        return Member(t=time, event=event, worker=now.index, incarnation=now.incarnation, node=now.node)

    if was is None:
        yield at("joined", now.joined)
    if not now.alive and (was is None or was.alive):
        yield at(now.state, now.ended)
    elif was is not None and not was.alive and now.alive:
        # Heartbeats came again: the worker was thought lost and was not.
        yield at("joined", None)


def _of_servers(before: list[int], now: list[int], t: float) -> Iterator[Server]:
    for shard, (old, new) in enumerate(zip(before, now, strict=False)):
        if new > old > 0:  # 0: not heard of yet
            yield Server(t=t, event="restarted", shard=shard, term=new)
