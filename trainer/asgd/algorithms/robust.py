"""Rules that bear wrong gradients, in synchronous rounds: Krum, geometric median, coordinate median.

Krum (Blanchard et al. 2017) takes the gradient with the least sum of squared distances to its m - f - 2 nearest.
The geometric median (Weiszfeld) and Krum need inner products only, which shards add up: m x m numbers a shard and
round. The coordinate median needs none. The optimizer (momentum, weight decay) runs after the rule. See
algorithms.md section 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientWorker
from asgd.algorithms.rounds import Decision, Measures, gram
from asgd.algorithms.sync import SyncServer
from asgd.kernel import F32

F64 = npt.NDArray[np.float64]
_BLOCK = 1 << 15


def distances(products: F64) -> F64:
    """(m, m) squared distances from (m, m) inner products."""
    squares = np.diag(products)
    found: F64 = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)
    return found


def krum(products: F64, byzantine: int) -> int:
    """The row that Krum selects out of m, at most `byzantine` of them wrong; ties go to the lowest.

    With too few rows left (2f + 2 >= m) f is cut to floor((m - 3) / 2), at least 0.
    """
    m = len(products)
    f = max(0, min(byzantine, (m - 3) // 2))
    near = np.sort(distances(products), axis=1)[:, 1 : max(2, m - f - 1)]
    return int(np.argmin(near.sum(axis=1)))


def weiszfeld(products: F64, steps: int = 100) -> F64:
    """(m,) weights, summing to 1, whose combination is the geometric median of the rows."""
    m = len(products)
    weights = np.full(m, 1 / m)
    for _ in range(steps):
        squared = np.diag(products) - 2 * products @ weights + weights @ products @ weights
        pull = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)), 1e-8)
        weights = pull / pull.sum()
    return weights


def median(vectors: Sequence[F32]) -> F32:
    """The (n,) median of each coordinate; the first vector is overwritten with it."""
    out = vectors[0]
    for start in range(0, out.size, _BLOCK):
        span = slice(start, start + _BLOCK)
        out[span] = np.median(np.stack([vector[span] for vector in vectors]), axis=0)
    return out


class GramServer(SyncServer):
    """Decides by the gradients' inner products."""

    measures = True

    def measure(self, state: ShardState, given: Sequence[Contribution]) -> Measures:
        return {"gram": gram([part.vector for part in given])}


class KrumServer(GramServer):
    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        return {"chosen": krum(measures["gram"], int(self.spec.algorithm.get("byzantine", 1)))}

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        self.move(state, given[min(decision["chosen"], len(given) - 1)].vector)


class GeometricMedianServer(GramServer):
    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        return {"weights": weiszfeld(measures["gram"]).tolist()}

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        total = given[0].vector
        total *= np.float32(decision["weights"][0])
        for part, weight in zip(given[1:], decision["weights"][1:], strict=False):
            part.vector *= np.float32(weight)
            total += part.vector
        self.move(state, total)


class MedianServer(SyncServer):
    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        self.move(state, median([part.vector for part in given]))


KRUM = Strategy("krum", KrumServer, GradientWorker, fields=("byzantine",))
GEOMETRIC_MEDIAN = Strategy("geometric-median", GeometricMedianServer, GradientWorker)
MEDIAN = Strategy("median", MedianServer, GradientWorker)
