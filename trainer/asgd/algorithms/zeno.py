"""Zeno (Xie et al., ICML 2019): only gradients that lower the loss on a fresh batch are listened to.

An oracle, the evaluator's process, computes the loss f_r on `samples` samples at the centre x and after a step by
each worker's gradient alone; score_i = f_r(x) - f_r(x - eta g_i) - rho |g_i|^2, and the mean of the m - b best moves
the centre. Lengths come from the Gram matrix, which is measured anyway: while the oracle is away, rounds close by
the geometric median. See algorithms.md section 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asgd.algorithms.base import Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientWorker
from asgd.algorithms.robust import F64, GeometricMedianServer
from asgd.algorithms.rounds import Decision, Measures
from asgd.algorithms.schedule import learning_rate
from asgd.algorithms.sync import before


def scores(losses: F64, squares: F64, rho: float) -> F64:
    """(m,) scores from (1 + m,) losses, the centre's first, and (m,) squared lengths; what is no number is worst."""
    found = losses[0] - losses[1:] - rho * squares
    return np.where(np.isfinite(found), found, -np.inf)


def best(found: F64, trimmed: int) -> F64:
    """(m,) weights that sum to 1: the mean of the m - `trimmed` best, at least one; ties go to the lowest."""
    count = max(1, len(found) - trimmed)
    weights = np.zeros(len(found))
    weights[np.argsort(-found, kind="stable")[:count]] = 1 / count
    return weights


class ZenoServer(GeometricMedianServer):
    """facts: unscored (rounds that closed while the oracle was away; shard 0)."""

    oracle = True

    def trial(self, state: ShardState) -> float:
        return learning_rate(self.spec.optimizer, before(state), state.dataset)

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        if "losses" not in measures:
            state.facts["unscored"] = int(state.facts.get("unscored", 0)) + 1
            return super().decide(state, pushes, measures)
        own = self.spec.algorithm
        rho = float(own.get("rho", self.spec.optimizer.learning_rate / 200))
        found = scores(measures["losses"], np.diag(measures["gram"]), rho)
        return {"weights": best(found, int(own.get("byzantine", 1))).tolist()}


STRATEGY = Strategy("zeno", ZenoServer, GradientWorker, oracle=True, fields=("byzantine", "samples", "rho"))
