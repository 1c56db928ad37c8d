"""A problem that costs next to nothing: a quadratic bowl over samples that are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from asgd.algorithms.base import WorkerStrategy
from asgd.kernel import F32
from asgd.worker.reading.leased import LeasedBatch, NextLease, Ranges, Waiting
from asgd.worker.shared import Batches

SIZE = 12
SAMPLES = 96
BATCH = 4
STREAM_BATCHES = 12
"""Batches of each worker's own loop."""


class Bowl:
    """Each sample pulls weights of shape (SIZE,) to a point of its own. `own_loops`: workers bring data that ends."""

    size, layout, tensors = SIZE, "bowl", b'[["bowl", [12]]]'

    def __init__(self, own_loops: bool = False) -> None:
        self.dataset = None if own_loops else SAMPLES
        self.guarantee = "no data" if own_loops else ""

    def initial(self) -> F32:
        return np.linspace(-1.0, 1.0, SIZE, dtype=np.float32)

    def open(self, worker: int, lease: NextLease) -> Batches:
        return _Own() if self.dataset is None else _Leased(lease)

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        out[:] = weights - np.float32(0.1 * item.batch)
        return self._loss(weights)

    def _loss(self, weights: F32) -> float:
        return float(weights @ weights) / 2

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> None:
        return

    def judge(self, worker: int, weights: F32) -> float:
        return self._loss(weights)

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {}

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        return [self._loss(point) for point in points]


class _Own:
    """A stream that ends."""

    def __init__(self) -> None:
        self._left = STREAM_BATCHES

    def next(self) -> LeasedBatch | None:
        self._left -= 1
        return LeasedBatch(self._left % 3, BATCH) if self._left >= 0 else None

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


class _Leased:
    """Batches of leased ranges."""

    def __init__(self, lease: NextLease) -> None:
        self._ranges = Ranges(BATCH, lease)

    def next(self) -> LeasedBatch | Waiting | None:
        part = self._ranges.next()
        if part is None or isinstance(part, Waiting):
            return part
        return LeasedBatch(part[1] % 7, part[2] - part[1], (part,))

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item
