"""The exponential moving average of a shard's weights (`evaluation.ema`). Pure.

As `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`: a copy after the first update, and with each
further one `average += (1 - decay) * (weights - average)`. An update is an accepted push, with strategies that work in
rounds a closed round. It costs one more array of the shard's size, and one pass over both with each update.
"""

from __future__ import annotations

import numpy as np

from asgd import kernel
from asgd.kernel import F32

NAME = "ema"
"""Of the array in checkpoints."""
ALL = slice(None)
_BLOCK = 1 << 16
"""Elements that are worked on at once: the difference stays in the processor's cache."""


class Average:
    """Of one shard; `decay` None: there is none. `by_rounds`: updates are rounds."""

    def __init__(self, decay: float | None, by_rounds: bool) -> None:
        self._decay, self._by_rounds = decay, by_rounds
        self.updates = 0
        """Updates that are in it."""
        self.vector: F32 | None = None

    def allocate(self, size: int) -> None:
        """Makes the (size,) array."""
        if self._decay is not None:
            self.vector = np.zeros(size, np.float32)
            self._scratch = np.empty(min(size, _BLOCK), np.float32)

    @property
    def arrays(self) -> dict[str, F32]:
        """What a checkpoint holds of it."""
        return {} if self.vector is None else {NAME: self.vector}

    def restore(self, arrays: dict[str, F32], updates: int | None) -> None:
        """Goes on from a checkpoint's `arrays`; one that has none of it begins anew with the next update."""
        found = arrays.get(NAME)
        self.updates = 0
        if self.vector is not None and found is not None:
            self.vector[:] = found
            # NB: a shard with other borders is told no number, and has an average all the same.
            self.updates = 1 if updates is None else updates

    def pushed(self, weights: F32, span: slice = ALL) -> None:
        """A push is in the weights (n,); one of a single model of several has moved the elements `span` alone."""
        if not self._by_rounds:
            self._step(weights, span)

    def closed(self, weights: F32) -> None:
        """A round is in the weights (n,)."""
        self._step(weights, ALL)

    def _step(self, weights: F32, span: slice) -> None:
        if self.vector is None or self._decay is None:
            return
        self.updates += 1
        if self.updates == 1:
            np.copyto(self.vector, weights)
            return
        weights, vector = weights[span], self.vector[span]
        for start in range(0, weights.size, _BLOCK):
            part = vector[start : start + _BLOCK]
            rest = self._scratch[: part.size]
            np.subtract(weights[start : start + _BLOCK], part, out=rest)
            kernel.axpy(part, rest, 1.0 - self._decay)

    def read(self, weights: F32, span: slice) -> F32:
        """The elements `span` of it; the weights themselves where there is none yet."""
        return weights[span] if self.vector is None or not self.updates else self.vector[span]
