"""When a shard saves, and what: wishes for whoever has the checkpoint store, and what becomes of them.

Pure. The store may be slow or hang: one wish at a time is with it, nothing here waits for it, and who asks is told how
long it has not answered. A part that does not come within a bound is given up; the next save may try again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.rollback import Rollback
from asgd.server.shard import Shard
from asgd.server.traffic import Traffic
from asgd.wire.partition import Range
from asgd.wire.reports import Part

OVERDUE_SECONDS = 2.0
"""A save is not put off longer than this when the announced version does not come."""
SLOW_SECONDS = 10.0
SLOW_BYTES = 50e6
"""A store that has been at work for longer than this, and a second more for each so many bytes, is said to be slow."""
PATIENCE_SECONDS = 600.0
PATIENCE_BYTES = 10e6
"""A part, or a save, is given up after so long, and a second more for each so many bytes of it."""
WEIGHTS_SECONDS = 30.0
"""A shard that has no weights for so long makes no part: without a save only workers have them, and all may be gone."""
CHECK_SECONDS = 30.0
"""A server that has asked the store nothing for so long looks whether it was replaced: perhaps nobody can tell it."""
SUSPICION_SECONDS = 5.0
"""Peers that name a term which nobody here knows make the store be asked this often at most."""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a server knows of its checkpoint store when it starts."""

    uri: str
    newest_begun: int = 0
    """The highest number that any save bears, complete or not."""
    complete: tuple[tuple[int, int], ...] = ()
    """(number, updates) of the complete saves, oldest first; for shard 0 of a job that may go back."""


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """What a start of a shard goes on from: a save, or (number below zero) a copy that was kept in memory."""

    number: int
    size: int
    layout: str
    arrays: dict[str, F32]
    meta: dict[str, Any]
    job: dict[str, Any] | None = None
    """The coordinator's state; for shard 0."""
    manifest: Manifest | None = None
    """The newest complete save of the job."""
    age: float = 0.0
    """Seconds since that was written."""
    skipped: str = ""
    """Which newer saves are not whole, and why, in a sentence."""
    rollbacks: int = 0
    """How often the job has gone back, with `back` if there is one."""
    back: Rollback | None = None
    """This start begins by going back."""


@dataclass(frozen=True, slots=True, eq=False)
class WritePart:
    """Write this shard's file of save `number`. `arrays` are the live ones: copy them before the core is told more."""

    number: int
    shard: int
    shards: int
    term: int
    span: Range
    arrays: dict[str, F32]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Publish:
    """All parts are written: write the manifest, then remove all but the newest `keep` saves and those `spared`."""

    manifest: Manifest
    keep: int
    spared: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class KeepOwn:
    """The save is complete in a store that this shard may not see: keep its own view of it, unless it does see it."""

    manifest: Manifest
    shard: int
    keep: int


@dataclass(frozen=True, slots=True, eq=False)
class CheckTerm:
    """Somebody says that this server was replaced: look whether the store knows of it."""

    shard: int
    term: int


Wish = WritePart | Publish | KeepOwn | CheckTerm


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a wish. `done`: what was asked for is in the store; `error` may still tell of what is not."""

    wish: Wish
    done: bool
    error: str = ""
    part: Part | None = None
    time: float = 0.0
    """Seconds since 1970; of parts and manifests."""
    fenced: bool = False
    """A newer server of this shard has started; `error` says so. This one must end."""
    foreign: bool = False
    """And that server belongs to another run."""


@dataclass(slots=True)
class _Order:
    """A save that was announced."""

    number: int
    version: int
    since: float


def patience(size: int) -> float:
    """Seconds after which a save of `size` bytes is given up."""
    return PATIENCE_SECONDS + size / PATIENCE_BYTES


class Saving:
    """Of one shard. `number` is the newest save that it is through with, `part` what it wrote, or `error` why not."""

    def __init__(self, shard: Shard, traffic: Traffic, facts: StoreFacts) -> None:
        self.facts = facts
        self.number = 0
        self.part: Part | None = None
        self.error = ""
        self._shard, self._traffic = shard, traffic
        self._order: _Order | None = None
        self._taken = 0
        self._queue: deque[Wish] = deque()
        self._at_work: Wish | None = None
        self._since = 0.0
        self._asked: float | None = None
        """When the store was last asked for anything, or this server began."""
        self._suspected = -SUSPICION_SECONDS

    @property
    def begun(self) -> bool:
        """A part of this start was copied for its save, or given up."""
        return self._taken > 0

    # -- what is asked for -------------------------------------------------------------------------

    def order(self, number: int, version: int, now: float) -> None:
        """Shard 0 announced a save, to be made at `version`."""
        if number > self._taken and (self._order is None or self._order.number < number):
            self._order = _Order(number, version, now)

    def ask(self, wish: Publish | KeepOwn) -> None:
        """Has a wish carried out after those before it."""
        self._queue.append(wish)

    def suspect(self, now: float) -> None:
        """A peer has named a higher term than this server's. Its word alone ends nobody."""
        if now - self._suspected >= SUSPICION_SECONDS:
            self._suspected = now
            self._queue.append(CheckTerm(self._shard.index, self._shard.term))

    def wish(self, now: float, job: Callable[[float], dict[str, Any] | None]) -> Wish | None:
        """What the store is to do next, None for nothing; `job` gives the coordinator's state on shard 0."""
        if self._at_work is not None:
            return None
        if self._queue:
            self._at_work = self._queue.popleft()
        elif self._due(now):
            self._at_work = self._write_part(job(now))
        else:
            return None
        self._since = self._asked = now
        return self._at_work

    def _due(self, now: float) -> bool:
        """Whether the announced version has come (or will not)."""
        order = self._order
        if order is None or not self._shard.ready:
            return False
        return self._shard.state.version >= order.version or now - order.since > OVERDUE_SECONDS

    def _write_part(self, job: dict[str, Any] | None) -> WritePart:
        assert self._order is not None
        order, self._order, shard = self._order, None, self._shard
        self._taken = order.number
        shard.recorder.saved(order.number)
        meta = shard.meta() | ({"job": job} if job is not None else {})
        whole, arrays = shard.cuts.whole, shard.arrays()
        return WritePart(order.number, shard.index, shard.shards, shard.term, whole, arrays, meta)

    # -- what becomes of it ------------------------------------------------------------------------

    def done(self, outcome: Outcome, now: float) -> None:
        """The store has answered."""
        if outcome.wish is not self._at_work:
            return
        self._at_work, traffic = None, self._traffic
        traffic.store_seconds = 0.0
        if isinstance(outcome.wish, CheckTerm):
            return
        traffic.checkpoints["saved" if outcome.done else "failed"] += isinstance(outcome.wish, WritePart)
        traffic.checkpoints["failed"] += not outcome.done and isinstance(outcome.wish, KeepOwn)
        if isinstance(outcome.wish, WritePart):
            traffic.checkpoint_seconds = now - self._since
            if outcome.part:
                traffic.checkpoint_bytes, traffic.checkpoint_time = outcome.part.bytes, outcome.time
            if self.number < outcome.wish.number:
                self._through(outcome.wish.number, outcome.part, outcome.error)

    def _through(self, number: int, part: Part | None, error: str) -> None:
        self.number, self.part, self.error = number, part, error

    def tick(self, now: float) -> None:
        """Moves time on: what the store has not answered in time counts as failed."""
        self._asked = now if self._asked is None else self._asked
        if now - self._asked > CHECK_SECONDS and self._at_work is None:
            self.suspect(now)
        if self._order and not self._shard.ready and now - self._order.since > WEIGHTS_SECONDS:
            self._drop_order(self._order, f"shard {self._shard.index} has no weights, and nobody brings any")
        if self._at_work is None:
            return
        self._traffic.store_seconds = now - self._since
        bound = patience(self._size)
        writes = isinstance(self._at_work, WritePart) and self.number < self._taken
        if writes and now - self._since > bound:
            self._traffic.checkpoints["failed"] += 1
            self._through(self._taken, None, self.trouble(now))
        elif self._order and now - self._order.since > bound:
            self._drop_order(self._order, self.trouble(now))

    def _drop_order(self, order: _Order, error: str) -> None:
        self._order, self._taken = None, order.number
        self._traffic.checkpoints["failed"] += 1
        self._through(order.number, None, error)

    @property
    def _size(self) -> int:
        return sum(array.nbytes for array in self._shard.arrays().values())

    def trouble(self, now: float) -> str:
        """What is wrong with the store at this moment, in a sentence; empty if nothing is."""
        if self._at_work is None:
            return ""
        waited = now - self._since
        if waited <= SLOW_SECONDS + self._size / SLOW_BYTES:
            return ""
        return f"the checkpoint store has not answered for {waited:.0f} s"
