"""A shard's side of a checkpoint round: copy the part at the announced version, write it in a thread, tell the result.

Serving waits for the copy alone, which is made at memory speed into memory that is kept for it: the first copy, which
touches it, is made when training begins. The thread that writes it stands back behind those that serve and train.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from asgd import kernel
from asgd.errors import Fenced, TryAgain
from asgd.host.env import ProcessConfig
from asgd.host.priority import stand_back
from asgd.kernel import F32
from asgd.server.metrics import Traffic
from asgd.server.saves.store import Manifest, Part, Store
from asgd.server.shard import Shard
from asgd.wire.partition import shard_range

OVERDUE_SECONDS = 2.0
"""A round is not put off longer than this when the announced version does not come."""


@dataclass(slots=True)
class Order:
    """A save round that was announced."""

    round: int
    version: int
    since: float


class Spare:
    """Memory for one copy of a shard's arrays. Pages that were never touched cost several times what the copy does."""

    def __init__(self) -> None:
        self._arrays: dict[str, F32] = {}

    def copy(self, arrays: dict[str, F32]) -> dict[str, F32]:
        """A copy of `arrays`, good until the next one."""
        copies = {}
        for name, array in arrays.items():
            kept = self._arrays.get(name)
            if kept is None or kept.size != array.size:
                kept = self._arrays[name] = np.empty(array.size, np.float32)
            np.copyto(kept, array)
            copies[name] = kept
        return copies


class Saver:
    """Saves one shard. `result` is the part of the newest finished round, `error` why it failed."""

    def __init__(self, store: Store, shard: Shard, traffic: Traffic) -> None:
        self._store, self._shard, self._traffic = store, shard, traffic
        self._pool = ThreadPoolExecutor(1, "checkpoint", initializer=stand_back)
        self._spare = Spare()
        self._order: Order | None = None
        self._running: Future[Part] | None = None
        self._started = 0.0
        self._taken = 0
        self._kept = 0
        self.round = 0
        self.result: Part | None = None
        self.error = ""

    def order(self, round_: int, version: int, now: float) -> None:
        """Shard 0 announced a round."""
        if round_ > self._taken and (self._order is None or self._order.round < round_):
            self._order = Order(round_, version, now)

    def due(self, now: float) -> bool:
        """Whether the announced version has come (or will not)."""
        order = self._order
        if order is None or self._running is not None or not self._shard.ready:
            return False
        return self._shard.state.version >= order.version or now - order.since > OVERDUE_SECONDS

    def start(self, job: dict[str, Any] | None) -> None:
        """Writes the part now; `job` is the coordinator's state on shard 0."""
        assert self._order is not None
        order, self._order = self._order, None
        self._taken = order.round
        shard = self._shard
        shard.recorder.saved(order.round)
        meta = shard.meta() | ({"job": job} if job is not None else {})
        arrays = self._spare.copy(shard.arrays())
        self._started = time.monotonic()
        self._running = self._pool.submit(self._write, order.round, arrays, meta)

    def _write(self, round_: int, arrays: dict[str, Any], meta: dict[str, Any]) -> Part:
        shard = self._shard
        if not all(kernel.finite(array) for array in arrays.values()):
            raise TryAgain(f"shard {shard.index} holds inf or nan, which nobody wants back: not saved")
        self._store.check_term(shard.index, shard.term)
        part = self._store.write_part(round_, shard.index, shard.shards, arrays, meta)
        span = shard_range(shard.size or 0, shard.index, shard.shards)
        part.start, part.stop = span.start, span.stop
        return part

    def poll(self) -> bool:
        """Takes in a finished write; True when there was one. Raises Fenced when a newer server has started."""
        if self._running is None or not self._running.done():
            return False
        running, self._running = self._running, None
        self.round = self._taken
        try:
            self.result, self.error = running.result(), ""
            self._traffic.checkpoints["saved"] += 1
            self._traffic.checkpoint_bytes = self.result.bytes
            self._traffic.checkpoint_time = time.time()
        except Fenced:
            raise
        except TryAgain as error:
            self.result, self.error = None, str(error)
            self._traffic.checkpoints["failed"] += 1
        self._traffic.checkpoint_seconds = time.monotonic() - self._started
        return True

    def keep_own(self, saved: int, config: ProcessConfig) -> None:
        """Round `saved` is complete; where this shard's store is its own (a pod's volume), it keeps its part itself."""
        if self.result is None or not self._kept < self.round == saved:
            return
        self._kept, shard, job = saved, self._shard, config.job
        own = Manifest(
            job=job.name, round=saved, term=shard.term, size=shard.size or 0, layout=shard.layout,
            tensors=[], algorithm=str(job.spec.algorithm["name"]), updates=self.result.version,
            samples=shard.state.samples, parts=[self.result], time=time.time(), run=config.run,
        )  # fmt: skip
        try:
            self._store.keep_own(own, shard.index, job.spec.checkpoint.keep)
        except TryAgain:
            # A store that fails must not end the server that it serves.
            self._traffic.checkpoints["failed"] += 1

    def close(self) -> None:
        """Waits for a write under way."""
        self._pool.shutdown(wait=True)


class Rounds:
    """Shard 0's side: collects the parts of a round and writes its manifest when all are there."""

    def __init__(self, store: Store, shards: int) -> None:
        self._store, self._shards = store, shards
        self._parts: dict[int, Part] = {}
        self.round = 0
        self.errors: list[str] = []
        self.newest: Manifest | None = None

    def begin(self, round_: int) -> None:
        """A new round was announced."""
        if round_ != self.round:
            self.round, self._parts, self.errors = round_, {}, []

    def report(self, shard: int, round_: int, part: Part | None, error: str) -> None:
        """A shard is through with `round_`."""
        if round_ != self.round:
            return
        if part:
            self._parts[shard] = part
        elif error and error not in self.errors:
            self.errors.append(error)

    @property
    def complete(self) -> bool:
        """Every shard's part was written."""
        return len(self._parts) == self._shards

    def write(self, manifest: Manifest, keep: int) -> None:
        """Writes the manifest and removes old rounds. Raises TryAgain when the store refuses, Fenced when replaced."""
        self._store.check_term(0, manifest.term)
        manifest.parts = [self._parts[i] for i in range(self._shards)]
        self._store.write_manifest(manifest)
        self.newest = manifest
        self._store.prune(keep)
