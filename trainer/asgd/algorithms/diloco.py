"""Local SGD (FedAvg) and DiLoCo (Douillard et al. 2023): rounds of local steps, whose mean an outer optimizer
applies.

With D = mean(x_base - x_i): local SGD moves theta by -D, DiLoCo by Nesterov momentum, m = mu m + D; theta -= eps (D
+ mu m). Nesterov on rounds is safe: nothing is stale. A worker that missed a round has computed from weights that
are gone; its steps are refused and it goes on from the new ones. See algorithms.md section 9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy
from asgd.algorithms.local import LocalWorker
from asgd.algorithms.rounds import Decision, RoundServer, mean
from asgd.kernel import F32


class LocalSgdServer(RoundServer):
    def admit(self, push: Push, state: ShardState) -> str:
        return "stale" if push.staleness else ""

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        # Workers send x_i - x_base, which is -D.
        state.weights += mean([part.vector for part in given])


class DilocoServer(LocalSgdServer):
    slots = ("momentum",)

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        self.advance(state, slice(None), [part.vector for part in given])

    def advance(self, state: ShardState, span: slice, vectors: Sequence[F32]) -> None:
        """One outer step of the elements `span` by the workers' changes of them; the first vector is overwritten."""
        own = self.spec.algorithm
        rate, mu = np.float32(own.get("outerLearningRate", 0.7)), np.float32(own.get("outerMomentum", 0.9))
        delta, m = mean(vectors), state.slots["momentum"][span]
        m *= mu
        m += delta
        delta += mu * m
        delta *= rate
        weights = state.weights[span]
        weights += delta


class DilocoWorker(LocalWorker):
    default_period = 50


LOCAL_SGD = Strategy("local-sgd", LocalSgdServer, LocalWorker, fields=("period",), counts="samples")
DILOCO = Strategy(
    "diloco",
    DilocoServer,
    DilocoWorker,
    fields=("period", "outerLearningRate", "outerMomentum"),
    counts="samples",
)
