"""Delay-compensated A-SGD (Zheng et al. 2016): a stale gradient is corrected to first order for how far the centre
moved.

`g + lambda g*g*(x - backup)`, where backup is the centre as it was sent to that worker; the shard keeps one a
worker, so the correction costs no bytes on the wire. `adaptive` divides lambda by the root of a running mean of
g*g. See algorithms.md section 3.
"""

from __future__ import annotations

import numpy as np

from asgd.algorithms.base import Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.kernel import F32
from asgd.spec.types import JobSpec

EPSILON = 1e-7


class DcServer(GradientServer):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.adaptive = bool(own.get("adaptive", False))
        self.strength = float(own.get("lambda", 2.0 if self.adaptive else 0.04))
        self.decay = float(own.get("decay", 0.95))
        self.slots = (*self.slots, "meanSquare") if self.adaptive else self.slots

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        backup = state.kept.get(push.worker)
        if backup is None or self.strength == 0:
            super().apply(state, span, push, vector)
            return
        super().apply(state, span, push, vector + self._correction(state, span, vector, backup[span]))

    def _correction(self, state: ShardState, span: slice, vector: F32, backup: F32) -> F32:
        correction = state.weights[span] - backup
        square = vector * vector
        correction *= square
        correction *= np.float32(self.strength)
        if self.adaptive:
            mean = state.slots["meanSquare"][span]
            mean *= np.float32(self.decay)
            square *= np.float32(1 - self.decay)
            mean += square
            correction /= np.sqrt(mean + np.float32(EPSILON))
        return correction

    def answer(self, state: ShardState, span: slice, worker: int) -> F32:
        weights = state.weights[span]
        if worker >= 0:
            backup = state.kept.get(worker)
            if backup is None:
                backup = state.kept[worker] = state.weights.copy()
            backup[span] = weights
        return weights


STRATEGY = Strategy("dc-asgd", DcServer, GradientWorker, fields=("adaptive", "lambda", "decay"))
