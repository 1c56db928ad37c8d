"""Work whose weights are a ledger: each gradient that a server applies, and each sample in it, leaves its own mark.

A shard of `rows(...)` elements counts in its first `dataset` elements how often each sample is in its weights, and in
the rest how often each gradient is: whatever servers go through, that is 0 or 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from asgd.algorithms.base import WorkerStrategy
from asgd.drivers.virtual.clock import Action, Clock
from asgd.drivers.virtual.network import Network
from asgd.kernel import F32
from asgd.wire.messages import Message, Reply
from asgd.worker.reading.leased import LeasedBatch, NextLease, Ranges, Waiting
from asgd.worker.shared import Batches
from asgd.world.models import World

MARKS = 400
"""Gradients that are told apart."""


class Ledger:
    """`dataset` samples in batches of `batch`; None: a stream for each worker, of `steps` batches or (1, 2) more."""

    layout, guarantee = "ledger", "every sample once an epoch"

    def __init__(self, shards: int, dataset: int | None, batch: int = 4, steps: int = 6) -> None:
        self.dataset, self.batch, self.steps, self.shards = dataset, batch, steps, shards
        self.rows = (dataset or 0) + MARKS
        self.size = shards * self.rows
        self.tensors = json.dumps([["ledger", [self.size]]]).encode()
        self.computed = 0

    def initial(self) -> F32:
        return np.zeros(self.size, np.float32)

    def open(self, worker: int, lease: NextLease) -> Batches:
        return _Stream(self.steps * (1 + 4 * worker)) if self.dataset is None else _Leased(self.batch, lease)

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        out[:] = 0
        rows = out.reshape(self.shards, self.rows)
        for _, start, stop in item.visits:
            rows[:, start:stop] = -1
        if self.computed < MARKS:
            rows[:, (self.dataset or 0) + self.computed] = -1
        self.computed += 1
        return 1.0

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> None:
        return

    def judge(self, worker: int, weights: F32) -> float:
        return 1.0

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {}

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        return [1.0 for _ in points]


class _Leased:
    def __init__(self, batch: int, lease: NextLease) -> None:
        self._ranges = Ranges(batch, lease)

    def next(self) -> LeasedBatch | Waiting | None:
        part = self._ranges.next()
        if part is None or isinstance(part, Waiting):
            return part
        return LeasedBatch(None, part[2] - part[1], (part,))

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


class _Stream:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def next(self) -> LeasedBatch | None:
        self._left -= 1
        return LeasedBatch(None, 1, ()) if self._left >= 0 else None

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


class Witness(Network):
    """A network that may lose messages, and notes what servers acknowledge; versions never go back within a term."""

    loses = True

    def __init__(self, clock: Clock, world: World) -> None:
        super().__init__(clock, world)
        self.loses_every = 0
        """Every so many messages one is lost; 0: none is."""
        self.told: dict[tuple[int, int], Reply] = {}
        """{(shard, term): the newest reply that has reached a worker}"""
        self._sent = 0
        self._newest: dict[tuple[int, int], int] = {}

    def send(
        self, source: Any, target: Any, message: Message, payload_bytes: int, deliver: Action
    ) -> None:  # fmt: skip
        self._sent += 1
        if source[0] == "server" and isinstance(message, Reply):
            place = source[1], message.term
            assert message.version >= self._newest.get(place, 0), (place, message)
            self._newest[place] = message.version
        if self.loses_every and self._sent % self.loses_every == 0:
            return

        def delivered() -> None:
            if source[0] == "server" and isinstance(message, Reply):
                before = self.told.get((source[1], message.term))
                if before is None or before.version < message.version:
                    self.told[source[1], message.term] = message
            deliver()

        super().send(source, target, message, payload_bytes, delivered)
