"""When a worker counts as hung: it owes progress, and has made none for longer than its own pace allows.

Progress is what reaches shard 0 of a worker's work: a hello, initial weights, a request for data, chunks of a push,
a pull that is answered. Its heartbeat is none, since that comes from a thread of its own. Who waits owes nothing: a
pull that is held back waits for others, a worker without data for its next lease. Pure; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from asgd.spec.status import WorkerTimes
from asgd.spec.types import JobSpec

LEAST_SECONDS = 60.0
"""No deadline that is derived from a worker's pace is shorter."""
BRING_SECONDS = 60.0
"""A worker that was asked for the initial weights computes nothing before it sends them."""
SLOW_TIMES, FIRST_TIMES = 8.0, 2.0
"""The derived deadline is so many times the slowest wait for progress, and so many times the first one."""
STALLED_SECONDS = 300.0
"""A worker is named when half its deadline is over, and after this at the latest."""
_FORGET = 0.99
"""With each push the slowest wait counts so much less: one hiccup is not remembered for ever."""


@dataclass(slots=True)
class Pace:
    """How long one process takes from one sign of progress to the next."""

    pushes: int = 0
    first: float = 0.0
    """From its hello to the verdict on its first push: reading, compiling and one step."""
    slowest: float = 0.0

    def waited(self, seconds: float) -> None:
        """It was owing progress for so long, and made it."""
        self.slowest = max(self.slowest, seconds)

    def pushed(self, lived: float) -> None:
        """A push got its verdict, `lived` seconds after the hello."""
        self.pushes += 1
        if self.pushes == 1:
            self.first, self.slowest = lived, 0.0
        self.slowest *= _FORGET


@dataclass(slots=True)
class Debt:
    """What one member owes at this time."""

    since: float
    """Its newest progress."""
    parked: bool = False
    """A pull of it is held back: it waits for others."""
    brings: bool = False
    """It was asked for the initial weights."""
    pace: Pace = field(default_factory=Pace)


class Owing(Protocol):
    """The part of a member that is looked at here."""

    @property
    def index(self) -> int: ...
    @property
    def resting(self) -> bool: ...
    @property
    def debt(self) -> Debt: ...
    @property
    def times(self) -> WorkerTimes: ...


def without_data(member: Owing, held: int) -> bool:
    """Whether `member` has pushed all that it had, and waits for its next lease."""
    return member.resting and not held


def idle(member: Owing, held: int, now: float) -> float:
    """Seconds for which `member` has owed progress without making any; `held`: samples leased to it, not pushed."""
    waits = member.debt.parked or without_data(member, held)
    return 0.0 if waits else max(0.0, now - member.debt.since)


def deadline(spec: JobSpec, member: Owing, leases: bool) -> float:
    """Seconds without progress after which `member` is given up. `leases`: it reads what shard 0 deals, and no more.

    A process that has pushed nothing yet may take as long as the job's start: it reads, compiles and computes its first
    step. Own loops and streams do what they like between two pushes.
    """
    given = spec.workers.progress_deadline_seconds
    if member.debt.brings:
        return BRING_SECONDS if given is None else given
    least = LEAST_SECONDS if leases else max(LEAST_SECONDS, spec.run_policy.progress_deadline_seconds)
    seconds = _derived(spec, member, least) if given is None else given
    return seconds if member.debt.pace.pushes else max(seconds, spec.run_policy.startup_deadline_seconds)


def _derived(spec: JobSpec, member: Owing, least: float) -> float:
    pace, own = member.debt.pace, member.times.own
    steps = max(spec.exchange.fetch_every, spec.exchange.push_every)
    slow = max(pace.slowest, own.quantile(1.0), own.mean * steps)
    return max(least, SLOW_TIMES * slow, FIRST_TIMES * pace.first)


def stalled(idle_seconds: float, deadline_seconds: float) -> bool:
    """Whether a member is to be named as one that makes no progress."""
    return idle_seconds > min(deadline_seconds / 2, STALLED_SECONDS)


def sentence(member: Owing, held: int, seconds: str) -> str:
    """`worker 1 holds 64 samples and has pushed nothing for 300 s`; `seconds` with their unit."""
    if member.debt.brings:
        what = "was asked for the initial weights and has sent nothing"
    else:
        what = f"holds {held:,} samples and has pushed nothing" if held else "has pushed nothing"
    return f"worker {member.index} {what} for {seconds}"
