"""What the advice rests on: workers and servers, measured between two moments with the same workers at work.

Two marks are kept, and no more: when the median worker has made `EXCHANGES` exchanges since the newer one, it takes the
older one's place. So what is measured is one to two times that many exchanges long, whether a step takes a millisecond
or a minute. Who joins or leaves, and a server that was started anew, begins it again; until then there is no advice.
A number is told when two looks in a row say it, or go the same way. Pure; times are seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asgd.server.advice import CALM, Kind, Measured, Pace, advise, made, model
from asgd.server.facts import JobFacts
from asgd.server.members import Member
from asgd.spec.autoscaling import own_hardware
from asgd.spec.status import Advice
from asgd.spec.types import JobSpec

LOOK_SECONDS = 2.0
"""So often it is looked, at most."""
EXCHANGES = 20
"""The median worker has made so many before anything is said; the slowest a quarter of it."""
FIRST = 3
"""A worker's first exchanges, in which it reads, compiles and warms up, are not measured."""
TRIED_MOST, TRIED_SECONDS = 16, 1800.0
"""So many other numbers of workers are remembered, and for so long: what else runs on a network changes."""


@dataclass(frozen=True, slots=True)
class _Life:
    """What a worker has told of itself, from its start to `at`."""

    at: float
    own: float
    exchanges: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """What stood on all clocks and counters at one moment."""

    at: float
    who: tuple[object, ...]
    """The processes that this is about."""
    lives: Mapping[int, _Life]
    busy: Sequence[float]
    """Seconds that each shard has served."""
    pushes: int
    staleness: int
    """Its sum over accepted pushes."""


class Advising:
    """Looks at the job of `spec`; `counts`: `Strategy.counts`; `rounds`, `waits`: as its `ServerStrategy` says."""

    def __init__(self, spec: JobSpec, counts: str, *, rounds: bool = False, waits: bool = False) -> None:
        self.told: Advice | None = None
        self.spec, self._counts = spec, counts
        self._kind: Kind = "rounds" if rounds else "bounded" if waits else "free"
        self._marks: list[_Mark] = []
        """At most two, the older one first."""
        self._calm: float | None = None
        self._tried: dict[int, tuple[float, float]] = {}
        """{number of workers: (when, exchanges a second)}, the newest `TRIED_MOST` of the last half hour."""
        self._before: int | None = None
        """What the look before has found."""
        self._due = 0.0

    def look(self, members: Mapping[int, Member], facts: JobFacts, now: float) -> None:
        """A look at a job that is training; cheap enough for each tick."""
        if not self._counts or now < self._due:
            return
        self._due = now + LOOK_SECONDS
        mark = _mark(members, facts, now)
        if self._marks and mark.who != self._marks[-1].who:
            self._marks, self.told, self._before = [], None, None
        if not self._marks:
            lives = mark.lives.values()
            if lives and min(life.exchanges for life in lives) >= FIRST:
                self._marks = [mark]
            return
        fresh = _since(self._marks[-1], mark)
        if fresh is None:
            return
        self._tell(members, _since(self._marks[0], mark) or fresh, now)
        self._marks = [self._marks[-1], mark]

    def _tell(self, members: Mapping[int, Member], since: _Since, now: float) -> None:
        shared = not (len({member.node for member in members.values()}) > 1 or own_hardware(self.spec))
        shared, there = shared and len(members) > 1, len(members)
        seen = self._measured(since, grows=self._counts == "samples" and not shared, now=now)
        self._tried.pop(there, None)
        self._tried[there] = now, made(seen)
        if max(seen.busy, default=0.0) < CALM and self._kind != "rounds":
            self._calm = model(seen).exchange
        found = advise(seen)
        before, self._before = self._before, found.workers
        steady = before is not None and _way(before - there) == _way(found.workers - there)
        if shared and found.workers == there:
            # NB: where they share cores, fewer may be as fast and more may be faster; their times do not tell.
            self.told = None
        elif steady or (self.told and self.told.workers == found.workers):
            self.told = found

    def _measured(self, since: _Since, *, grows: bool, now: float) -> Measured:
        bound = self.spec.exchange.staleness
        while len(self._tried) > TRIED_MOST:
            del self._tried[next(iter(self._tried))]
        tried = {n: rate for n, (at, rate) in self._tried.items() if now - at < TRIED_SECONDS}
        return Measured(
            since.paces, since.busy, self._kind, self.spec.workers.max_replicas, since.staleness,
            bound=None if bound.policy == "Wait" or self._kind != "free" else bound.max, grows=grows, calm=self._calm,
            tried={n: rate for n, rate in tried.items() if n != len(since.paces)},
        )  # fmt: skip


def _way(difference: int) -> int:
    return (difference > 0) - (difference < 0)


@dataclass(frozen=True, slots=True)
class _Since:
    paces: list[Pace]
    busy: list[float]
    staleness: float


def _mark(members: Mapping[int, Member], facts: JobFacts, now: float) -> _Mark:
    who = (tuple(sorted((member.index, member.number) for member in members.values())), tuple(facts.terms))
    lives = {
        index: _Life(member.phases_at, member.times.own.seconds, member.times.exchange.total)
        for index, member in sorted(members.items())
    }
    counted = [facts.staleness_of.get(index, (0, 0)) for index in members]
    busy = [report.busy_microseconds / 1e6 for report in facts.shards]
    return _Mark(now, who, lives, busy, sum(n for n, _ in counted), sum(total for _, total in counted))


def _since(old: _Mark, new: _Mark) -> _Since | None:
    """What has happened between two marks of the same processes; None: too little."""
    count = {index: life.exchanges - old.lives[index].exchanges for index, life in new.lives.items()}
    if statistics.median(count.values()) < EXCHANGES or min(count.values()) < EXCHANGES / 4:
        return None
    paces = []
    for index, life in new.lives.items():
        before = old.lives[index]
        cycle = max(1e-9, life.at - before.at) / count[index]
        paces.append(Pace(index, min(cycle, (life.own - before.own) / count[index]), cycle))
    seconds, pushes = new.at - old.at, new.pushes - old.pushes
    busy = [min(1.0, (b - a) / seconds) for a, b in zip(old.busy, new.busy, strict=True)]
    return _Since(paces, busy, (new.staleness - old.staleness) / pushes if pushes > 0 else 0.0)
