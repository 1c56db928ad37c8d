"""FASGD (Odena 2016): each coordinate's rate is divided by the staleness and by the spread of its recent gradients.

Running means n of g*g and b of g give the spread sqrt(n - b*b), itself averaged into v, which starts at 1; the
centre moves by rate / (v max(1, s)) g. Weight decay is added to g first. See algorithms.md section 3.
"""

from __future__ import annotations

import numpy as np

from asgd.algorithms.base import Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.kernel import F32
from asgd.spec.types import JobSpec

EPSILON = np.float32(1e-4)


class FasgdServer(GradientServer):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.decay = float(spec.algorithm.get("decay", 0.9))
        self.slots = ("meanSquare", "mean", "spread")

    def allocated(self, state: ShardState) -> None:
        state.slots["spread"][:] = 1

    def scale(self, push: Push) -> float:
        return 1.0 / max(1, push.staleness)

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        arrays = state.weights[span], *(state.slots[name][span] for name in self.slots)
        for piece in self.hyper.over(state.start + span.start, vector.size):
            rate = np.float32(-push.rate * piece.rate * push.scale)
            self._move(
                [array[piece.span] for array in arrays], vector[piece.span], rate, piece.own.weight_decay
            )

    def _move(self, arrays: list[F32], vector: F32, rate: np.float32, decay: float) -> None:
        weights, n, b, v = arrays
        if decay:
            # As in torch.optim: the decay is a part of the gradient, and of its spread.
            vector = vector + weights * np.float32(decay)
        keep, take = np.float32(self.decay), np.float32(1 - self.decay)
        n *= keep
        n += take * (vector * vector)
        b *= keep
        b += take * vector
        # Rounding can leave a tiny negative variance.
        spread = np.sqrt(np.maximum(n - b * b, 0) + EPSILON)
        v *= keep
        v += take * spread
        step = vector * rate
        step /= v
        weights += step


STRATEGY = Strategy("fasgd", FasgdServer, GradientWorker, fields=("decay",), counts="fewer", models=True)
