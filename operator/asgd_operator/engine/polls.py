"""When shard 0 of which job is asked for its status: pure, told the time and the answers.

A job is asked every `period`, spread by chance so that jobs that started together part; where there are many, less
often, so that there are never more than `per_second` questions a second. One that does not answer is
asked less often, and at most half of the pool waits for such jobs: a hundred servers behind a network that drops
packets do not keep the figures of the others from being read. A pod that is new or has changed is asked first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from asgd.spec.status import Status
from asgd_operator.engine.limits import TokenBucket


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask. `pod` is any value that changes when the pod may answer otherwise than before."""

    key: str
    url: str
    pod: Hashable = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from shard 0. `changes_in`: seconds after which time alone changes it; None: never."""

    report: Status | None
    awaited: bool
    """The first answer is not in yet, and not overdue: to decide now would take a job that runs for a silent one."""
    changes_in: float | None
    settled: bool = True
    """It was asked since its pod or its target changed, or has not answered in time."""
    age: float = 0.0
    """Seconds since `report` came."""


@dataclass
class _Asked:
    target: Target
    due: float
    since: float
    """When the job was asked for first."""
    flying: Target | None = None
    """Who is being asked now."""
    silent: int = 0
    """Answers that were missing in a row."""
    tried: bool = False
    last: tuple[float, Status] | None = None
    changed: float = 0.0
    """When the target changed last."""
    settled: bool = False
    """The target that it has now was asked, and has answered or not."""


@dataclass
class Polls:
    """All times in seconds, on the clock of whoever calls."""

    width: int = 16
    """Jobs that are asked at the same time."""
    period: float = 10.0
    per_second: float = 8.0
    """Questions for long. With more than `per_second * period` jobs the period is longer."""
    longest_period: float = 60.0
    """Between two questions to a job that does not answer."""
    stale: float = 60.0
    """How long an answer stands for those that are missing after it; three periods at least."""
    first: float = 5.0
    """How long the first answer is waited for; as long as asking all of them takes at least."""
    chance: Callable[[], float] = lambda: 0.5
    _jobs: dict[str, _Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Room for the spread of the periods, and for twice the pool at once.
        self._bucket = TokenBucket(1.25 * self.per_second, 2.0 * self.width)

    def want(self, uid: str, target: Target, now: float) -> None:
        """Has the job `uid` asked from now on; again at once where its pod has changed."""
        asked = self._jobs.get(uid)
        if asked is None:
            self._jobs[uid] = _Asked(target, due=now, since=now, changed=now)
        elif asked.target != target:
            asked.target, asked.due, asked.silent = target, now, 0
            asked.changed, asked.settled = now, False

    def forget(self, uid: str) -> None:
        self._jobs.pop(uid, None)

    def begin(self, now: float) -> list[tuple[str, Target]]:
        """Whom to ask now, by UID; new ones and changed ones first, then who is longest overdue. Each ends with
        `answered`.
        """
        flying = [asked for asked in self._jobs.values() if asked.flying]
        free = min(self.width - len(flying), self._bucket.tokens(now))
        free_for_silent = max(1, self.width // 2) - sum(asked.silent > 0 for asked in flying)
        found = []
        for uid, asked in self._due(now):
            if free <= 0:
                break
            if asked.silent and free_for_silent <= 0:
                continue
            free -= 1
            free_for_silent -= asked.silent > 0
            asked.flying = asked.target
            self._bucket.take(now)
            found.append((uid, asked.target))
        return found

    def next_in(self, now: float) -> float | None:
        """Seconds until somebody is due; None while all wait for an answer, or nobody is to be asked."""
        waits = [asked.due - now for asked in self._jobs.values() if not asked.flying]
        # NB: those that are due already wait for a place in the pool, which an answer makes free, or for a token.
        later = [wait for wait in waits if wait > 0]
        token = self._bucket.ready_in(now)
        return min([*later, token] if token > 0 and len(later) < len(waits) else later, default=None)

    def answered(self, uid: str, target: Target, report: Status | None, now: float) -> str | None:
        """An answer, or None for a missing one. Answers with the key of the job if it is worth a look."""
        asked = self._jobs.get(uid)
        if asked is None or asked.flying != target:
            return None
        asked.flying = None
        if target != asked.target:
            return None  # its pod has changed since, so it is due already
        first, asked.tried, asked.settled = not asked.tried, True, True
        asked.silent = 0 if report else asked.silent + 1
        slower = self._period * 2.0 ** min(max(0, asked.silent - 1), 30)
        pause = min(max(self.longest_period, self._period), slower)
        asked.due = now + pause * (0.9 + 0.2 * self.chance())
        if report is not None:
            asked.last = (now, report)
        return target.key if first or report is not None else None

    def known(self, uid: str, now: float) -> Known:
        asked = self._jobs.get(uid)
        if asked is None:
            return Known(None, awaited=False, changes_in=None)
        first = max(self.first, len(self._jobs) / self.per_second)
        if not asked.tried and (left := asked.since + first - now) > 0:
            return Known(None, awaited=True, changes_in=left, settled=False)
        overdue = asked.changed + self.first - now
        settled = asked.settled or overdue <= 0
        stale = max(self.stale, 3 * self._period)
        at, report = asked.last or (now - stale, None)
        left = at + stale - now
        changes = [wait for wait, there in ((left, left > 0), (overdue, not settled)) if there]
        known = report if left > 0 else None
        age = now - at if known else 0.0
        return Known(known, False, min(changes, default=None), settled, age)

    @property
    def _period(self) -> float:
        return max(self.period, len(self._jobs) / self.per_second)

    def _due(self, now: float) -> list[tuple[str, _Asked]]:
        waiting = (item for item in self._jobs.items() if not item[1].flying and item[1].due <= now)
        return sorted(waiting, key=lambda item: (item[1].settled, item[1].due))
