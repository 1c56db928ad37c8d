"""Level 2 of hierarchical cluster-based suppression: who moves alike in a block, and how the shared part is taken out.

Everything is decided by the p x p inner products of the updates. Clusters come from average linkage by cosine; with
m the mean update of a cluster, an individual loses s <D, m> / <m, m> m, which a shard applies to its part alone.
Part of our reconstruction, see `neuroevolution.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asgd.kernel import F32

F64 = npt.NDArray[np.float64]
Loss = tuple[int, list[int], float]
"""(individual, its cluster, factor on the sum of the cluster's updates that it loses)"""


def cosines(products: F64) -> F64:
    """(p, p) cosines of p updates by their inner products; an update of length 0 is like no other."""
    lengths = np.sqrt(np.diag(products))
    safe = np.where(lengths > 0, lengths, 1.0)
    found: F64 = products / np.outer(safe, safe)
    return found


def clusters(alike: F64, threshold: float) -> list[list[int]]:
    """Agglomerative clustering with average linkage while the mean similarity is above `threshold`.

    Ties go to the pair with the lowest members, so that the result depends on nothing but the similarities.
    """
    found = [[i] for i in range(len(alike))]
    while len(found) > 1:
        pairs = [
            (-float(alike[np.ix_(a, b)].mean()), i, j)
            for i, a in enumerate(found)
            for j, b in enumerate(found)
            if i < j
        ]
        likeness, i, j = min(pairs)
        if -likeness <= threshold:
            break
        found[i] = sorted(found[i] + found.pop(j))
    return found


def pull_apart(weights: Sequence[F32], updates: Sequence[F32], losses: Sequence[Loss]) -> None:
    """Takes from individuals, in place, what they lose; `updates` are how far each had come."""
    for who, cluster, factor in losses:
        shared = updates[cluster[0]].copy()
        for other in cluster[1:]:
            shared += updates[other]
        shared *= np.float32(factor)
        weights[who][:] -= shared
