"""When training is past saving: pushes or losses that stay inf or nan, or, where the job asks for it, a loss that
stays far above the best one.

A loss that rises is no divergence by itself: a value loss of reinforcement learning is near 0 until something is
rewarded. Who is to blame is remembered with each row of bad signs. Pure.
"""

from __future__ import annotations

import math

from msgspec import Struct

from asgd.spec.types import DivergenceRule

DIVERGED_LEAST = 10
"""So many refused pushes in a row (and at least 3 for each worker) end the job as diverged; of accepted ones whose
loss is inf or nan, twice as many (and 5 for each worker)."""
EXPLODED, HELD_MOST = 1e4, 1000
"""Weights whose loss is above so many times the best (at least 1) are not saved; after so many pushes they are: it is
not on the way to inf then."""
NONFINITE, OUTLIER = "nonfinite", "outlier"
BAD = {"refused:nonfinite": "are not finite", "refused:outlier": "are out of all bounds"}
"""{verdict: what such pushes are} of those that are a sign of divergence."""


class Divergence(Struct):
    """Counts signs of divergence; part of what a checkpoint keeps."""

    refused: list[int] = []
    """The workers of the refused pushes in a row, one a push."""
    numberless: list[int] = []
    """The workers of the accepted pushes in a row whose loss is inf or nan."""
    high: list[int] = []
    """The workers of the accepted pushes in a row whose loss is above the job's rule."""
    exploded: int = 0
    best: float | None = None
    """The lowest running mean of the loss."""
    spoiled: set[int] = set()
    """Workers whose newest push was accepted, and then turned out to be bad."""

    def refuse(self, worker: int) -> None:
        """A push was refused because it is not finite, or out of all bounds."""
        self.refused.append(worker)

    def spoil(self, worker: int) -> None:
        """An accepted push turned out to be bad in a later chunk.

        NB: its first chunk was good, and so will that of the next one be: it does not end the row.
        """
        self.spoiled.add(worker)
        self.refused.append(worker)

    def accepted(self, worker: int) -> None:
        """A push was accepted: the row ends, unless its worker's last one was good in its first chunk only."""
        if worker in self.spoiled:
            self.spoiled.discard(worker)
        elif self.refused:
            self.refused = []

    def beyond(self, workers: int) -> bool:
        """Whether so many workers have pushed too many bad gradients in a row."""
        return len(self.refused) >= max(DIVERGED_LEAST, 3 * workers)

    def loss(self, worker: int, loss: float, mean: float | None, rule: DivergenceRule, workers: int) -> bool:
        """A push of `worker` with `loss` was accepted, the running mean is `mean`; whether that is divergence."""
        if not math.isfinite(loss):
            self.numberless.append(worker)
            return len(self.numberless) >= max(2 * DIVERGED_LEAST, 5 * workers)
        if self.numberless:
            self.numberless = []
        best = self.best
        if best is None or (mean is not None and mean < best):
            self.best = best = loss if mean is None else mean
        self.exploded = self.exploded + 1 if loss > EXPLODED * max(abs(best), 1.0) else 0
        if rule.factor is None:
            return False
        if loss - best <= (rule.factor - 1) * abs(best):
            self.high = []
            return False
        self.high.append(worker)
        return len(self.high) >= rule.pushes

    @property
    def suspected(self) -> bool:
        """There are signs of it: weights of this moment are not worth keeping."""
        return bool(self.refused or self.numberless or self.high or 0 < self.exploded <= HELD_MOST)

    def sentence(self, rule: DivergenceRule) -> tuple[str, list[int]]:
        """What ended the job, without a full stop, and whose pushes did it, the first one first."""
        row = self.refused or self.numberless or self.high
        blamed = list(dict.fromkeys(row))
        if self.refused:
            what = "the pushes were refused, because they were not finite or out of all bounds"
        elif self.numberless:
            what = "the loss was not finite"
        else:
            what = f"the loss was above divergence.factor ({rule.factor:g}) times the best, {self.best:.4g}"
        return f"in the last {len(row)} pushes {what}: those of {named(blamed)}", blamed


def named(workers: list[int]) -> str:
    """`worker 3`, `worker 3 first, then of 0, 2`; at most eight by name."""
    if len(workers) == 1:
        return f"worker {workers[0]}"
    rest = ", ".join(map(str, workers[1:8])) + (", ..." if len(workers) > 8 else "")
    return f"worker {workers[0]} first, then of {rest}"
