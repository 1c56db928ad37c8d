"""How many workers help: from what was measured with those that are there, in one number and one sentence.

The model. A worker makes one exchange each `own + exchange` seconds: its own work, and what the exchange takes where
nobody queues for the server. The busiest server has `demand` seconds of work for each exchange, so it serves
`1 / demand` a second at most. The first m workers then make, in exchanges a second,

* asynchronous:  min(sum of 1 / (own + exchange), 1 / demand): each goes at its own pace;
* bounded wait (ssp):  min(m / (slowest own + exchange), 1 / demand): nobody is ahead of the slowest for long;
* rounds:  m / (the time at which a queue has served all m, who come when their own work is done, + the rest).

Of m workers a push is m - 1 updates old, times the measured `staleness / (n - 1)` where workers fetch less often. A
bound on it that refuses or shrinks older pushes leaves `1 + bound` workers' worth of them. The number that helps is the
smallest with `ENOUGH` of the best rate that any number up to `most` has. Workers that are not there yet are taken for
median ones, and twice as many as there are is as far as this is trusted: then it is measured anew. What is full and is
not measured, as the line to a server, shows when another number of workers was tried: if the additional ones brought
less than half of what this model says that they should, the better of the two rates is all there is. Where pushes are
shrunk by their age whatever it is, and where all workers share one machine, only fewer are ever advised.

Scaling down takes the last workers away, so m workers are always the first m. Pure; times are seconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from asgd.spec.status import Advice

ENOUGH = 0.95
"""Of the best rate: beyond it, further workers add staleness, cost and little else."""
FURTHER = 2
"""A model of n workers is believed for so many times as many."""
HALF = 0.5
"""Of what additional workers should have brought: with less, something that is not measured is full."""
MISSED = 0.1
"""Of the rate that all together should have had: with less missing, it is noise."""
CALM = 0.7
"""Below this load of the busiest server, exchanges are taken to be free of queueing."""
SLOW = 1.5
"""Who takes so many times as long as the median worker is named."""

Kind = Literal["free", "bounded", "rounds"]
"""How workers wait for each other."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One worker, lately."""

    index: int
    own: float
    """Of its own work, computing and reading, between two exchanges."""
    cycle: float
    """From one exchange to the next."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A job, lately."""

    paces: Sequence[Pace]
    """Of all workers, in order of index; at least one."""
    busy: Sequence[float]
    """Of each shard, the part of the time in which it served."""
    kind: Kind
    most: int
    """No more workers than this are allowed."""
    staleness: float = 0.0
    """Mean of accepted pushes in updates."""
    bound: int | None = None
    """Pushes that are older are refused or shrunk."""
    grows: bool = True
    """More workers than there are may be advised."""
    calm: float | None = None
    """What an exchange took when no server was busy; None: not known."""
    tried: Mapping[int, float] = field(default_factory=dict)
    """{another number of workers: exchanges a second that it has made}"""


@dataclass(frozen=True, slots=True)
class Model:
    """What the numbers of `seen` say about other numbers of workers."""

    seen: Measured
    demand: float
    """The busiest server's seconds for each exchange."""
    exchange: float
    """Seconds of an exchange without queueing."""
    most: float = math.inf
    """No more exchanges a second are there to be had, as other numbers of workers have shown."""

    def worth(self, workers: int) -> float:
        """The part of the pushes of so many workers that is young enough."""
        bound = self.seen.bound
        return 1.0 if bound is None else min(1.0, (1 + bound / self.per_worker) / workers)

    @property
    def per_worker(self) -> float:
        """Updates by which each further worker makes a push older."""
        others = len(self.seen.paces) - 1
        return max(1.0, self.seen.staleness / others) if others else 1.0

    def own(self, workers: int) -> list[float]:
        """Seconds of their own work of the first so many."""
        known = [pace.own for pace in self.seen.paces]
        return [*known, *[statistics.median(known)] * (workers - len(known))][:workers]

    def foreseen(self, workers: int) -> float:
        """Exchanges a second of so many workers, as if no other number had been tried."""
        own = self.own(workers)
        if self.seen.kind == "rounds":
            return workers / max(1e-9, served(own, self.demand) + self.exchange)
        free = [max(1e-9, each + self.exchange) for each in own]
        wanted = sum(1 / each for each in free) if self.seen.kind == "free" else workers / max(free)
        return min(wanted, 1 / self.demand if self.demand > 0 else math.inf)

    def speed(self, workers: int) -> float:
        """Exchanges a second of so many workers."""
        # NB: what fewer have made, more make too, unless a slow one keeps them back.
        known = [rate for tried, rate in self.seen.tried.items() if tried <= workers]
        foreseen = self.foreseen(workers)
        return min(self.most, max([foreseen, *known] if self.seen.kind == "free" else [foreseen]))

    def rate(self, workers: int) -> float:
        """Useful exchanges a second of so many workers."""
        return self.speed(workers) * self.worth(workers)


def served(arrivals: Sequence[float], demand: float) -> float:
    """When a server that needs `demand` seconds for each has served all who come at `arrivals`."""
    now = 0.0
    for arrival in sorted(arrivals):
        now = max(now, arrival) + demand
    return now


def unqueued(seen: Measured, demand: float) -> float:
    """What an exchange takes where nobody queues, as far as it can be known."""
    blocked = [max(0.0, pace.cycle - pace.own) for pace in seen.paces]
    if seen.kind == "rounds":
        cycle = statistics.mean(pace.cycle for pace in seen.paces)
        return max(0.0, cycle - served([pace.own for pace in seen.paces], demand))
    # NB: with a bounded wait only the slowest waits for nobody.
    now = min(blocked) if seen.kind == "bounded" else statistics.mean(blocked)
    if max(seen.busy, default=0.0) < CALM:
        return now
    return min(now, demand if seen.calm is None else seen.calm)


def made(seen: Measured) -> float:
    """Exchanges a second that were measured."""
    return sum(1 / pace.cycle for pace in seen.paces)


def model(seen: Measured) -> Model:
    """Fits the model to what was measured."""
    demand = max(seen.busy, default=0.0) / made(seen)
    fitted = Model(seen, demand, unqueued(seen, demand))
    return replace(fitted, most=_most(fitted))


def _most(fitted: Model) -> float:
    """The most exchanges a second that this and other numbers of workers leave to be hoped for."""
    now, there = made(fitted.seen), len(fitted.seen.paces)
    found = math.inf
    for other, rate in fitted.seen.tried.items():
        (few, less), (many, more) = sorted([(there, now), (other, rate)])
        gain = fitted.foreseen(many) / fitted.foreseen(few) - 1
        # NB: where the model foresees no gain, as where one of the additional workers is slow, nothing is hidden.
        if gain > 0 and more < min(less * (1 + HALF * gain), (1 - MISSED) * less * (1 + gain)):
            found = min(found, max(less, more))
    return found


def advise(seen: Measured) -> Advice:
    """The number of workers that helps, and why."""
    fitted, there = model(seen), len(seen.paces)
    last = max(there, min(seen.most, FURTHER * there)) if seen.grows else there
    rates = [fitted.rate(workers) for workers in range(1, last + 1)]
    best = max(rates)
    number = next(m for m, rate in enumerate(rates, 1) if rate >= ENOUGH * best)
    if 0 <= there - number <= max(1, there // 10) and rates[there - 1] >= ENOUGH * best:
        number = there  # one worker more or less is no reason to change anything
    return Advice(number, _sentence(fitted, number), measured=there)


def _sentence(fitted: Model, number: int) -> str:
    there = len(fitted.seen.paces)
    ratio = fitted.rate(number) / fitted.rate(there)
    reason = next(filter(None, (why(fitted, number) for why in _REASONS)), "")
    if number > there:
        return f"{_workers(number)} would train on {ratio:.1f} times as many samples a second as {there}: {reason}"
    if number == there:
        return f"{_workers(there)} {'is' if there == 1 else 'are'} the right number: {reason}"
    if ratio > 1.05:
        return f"{_workers(number)} would train on {ratio:.1f} times as many samples a second as {there}: {reason}"
    return f"{_workers(number)} {'learns' if number == 1 else 'learn'} as fast as {there}: {reason}"


def _workers(number: int) -> str:
    return f"{number} worker{'' if number == 1 else 's'}"


def _slow(fitted: Model, number: int) -> str:
    seen = fitted.seen
    slowest = max(seen.paces, key=lambda pace: pace.own)
    median = statistics.median(pace.own for pace in seen.paces)
    if seen.kind == "free" or median <= 0 or slowest.own < SLOW * median:
        return ""
    times = f"all wait for worker {slowest.index}, which takes {slowest.own / median:.1f} times as long as the median"
    return f"{times}; give it what the others have"


def _stale(fitted: Model, number: int) -> str:
    bound, there = fitted.seen.bound, len(fitted.seen.paces)
    if bound is None or fitted.worth(there + 1) >= 1 or number > there:
        return ""
    age = round(fitted.per_worker * (there - 1))
    old = f"pushes of {_workers(there)} are {age} updates old, and {bound} is the bound"
    return f"{old}; allow more (exchange.staleness.max)"


def _full(fitted: Model, number: int) -> str:
    busy, there = fitted.seen.busy, len(fitted.seen.paces)
    load = max(busy, default=0.0)
    if number > there or load < CALM:
        return ""
    return (
        f"shard {busy.index(load)} is busy for {_percent(load)} of the time; add a shard, or push less often"
    )


def _tried(fitted: Model, number: int) -> str:
    there = len(fitted.seen.paces)
    if fitted.speed(there) < ENOUGH * fitted.most or number > there:
        return ""
    tried = " and ".join(map(str, sorted([there, *fitted.seen.tried])))
    full = "so something that is not measured is full: the line to the servers, or a machine"
    return f"{tried} workers were about as fast as each other, {full}"


def _free(fitted: Model, number: int) -> str:
    seen, there = fitted.seen, len(fitted.seen.paces)
    load = f"the busiest server serves for {_percent(max(seen.busy, default=0.0))} of the time"
    if number > there:
        end = (
            ""
            if fitted.rate(number) < ENOUGH * number * fitted.rate(1)
            else ", and each further worker helps"
        )
        return f"{load}{end}"
    if number < there:
        return f"{load}, and further workers add little"
    if not seen.grows:
        return f"fewer would learn slower, and whether more help, only trying shows; {load}"
    more = "more are not allowed (workers.maxReplicas)" if there >= seen.most else "more would add little"
    return f"fewer would learn slower, and {more}; {load}"


def _percent(part: float) -> str:
    return f"{min(1.0, part):.0%}".replace("%", " %")


_REASONS: Sequence[Callable[[Model, int], str]] = (_slow, _stale, _full, _tried, _free)
"""The first that applies is told."""
