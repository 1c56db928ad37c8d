"""When training is past saving: pushes that stay non-finite, or a loss that grew out of all bounds and stays there."""

from __future__ import annotations

import math

from msgspec import Struct

DIVERGED_LEAST = 10
"""So many non-finite pushes in a row (and at least 3 for each worker) end the job as diverged."""
LOSS_EXPLODED = 1e4
"""So many times the first loss (at least 1), push after push, is diverged before anything is non-finite."""
LOSS_HIGH, HIGH_LEAST = 100.0, 200
"""So many times the first loss in most of so many pushes is diverged too: dead units and Adam's bounded steps can keep
a ruined model's loss finite for ever. A spike that training recovers from is shorter."""


class Divergence(Struct):
    """Counts signs of divergence; part of what a checkpoint keeps."""

    bad: int = 0
    """Non-finite pushes in a row."""
    exploded: int = 0
    high: int = 0
    spoiled: set[int] = set()
    """Workers whose newest push was accepted, and then turned out not to be finite."""

    def refused(self) -> None:
        """A push was refused because it is not finite."""
        self.bad += 1

    def spoil(self, worker: int) -> None:
        """An accepted push turned out to be non-finite in a later chunk.

        NB: its first chunk was good, and so will that of the next one be: it does not end the row.
        """
        self.spoiled.add(worker)
        self.bad += 1

    def accepted(self, worker: int) -> None:
        """A push was accepted: the row ends, unless its worker's last one was good in its first chunk only."""
        if worker in self.spoiled:
            self.spoiled.discard(worker)
        else:
            self.bad = 0

    def beyond(self, workers: int) -> bool:
        """Whether so many workers have pushed too many non-finite gradients in a row."""
        return self.bad >= max(DIVERGED_LEAST, 3 * workers)

    def loss(self, loss: float, first: float | None, workers: int) -> bool:
        """A push with `loss` was accepted, the job's first loss was `first`; whether that is divergence."""
        times = loss / max(abs(first or 0.0), 1.0) if math.isfinite(loss) else math.inf
        self.exploded = self.exploded + 1 if times > LOSS_EXPLODED else 0
        self.high = self.high + 1 if times > LOSS_HIGH else max(0, self.high - 2)
        exploded = self.exploded >= max(2 * DIVERGED_LEAST, 5 * workers)
        return exploded or self.high >= max(HIGH_LEAST, 20 * workers)
