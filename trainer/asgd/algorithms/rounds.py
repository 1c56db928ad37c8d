"""What strategies that work in rounds share: contributions are kept until the round closes, then folded in at once.

A round closes when every live worker has contributed (`server/round_table.py` sees to it, over all shards alike). The
fold goes through workers in the order of their index, never in order of arrival, so its bits depend on who took
part and nothing else. Strategies that judge the vectors decide by numbers that shards can add up (`measure`);
`decide` runs on shard 0 only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asgd.algorithms.base import Contribution, Push, ServerStrategy, ShardState
from asgd.algorithms.gathering import gather
from asgd.kernel import F32

Measures = dict[str, npt.NDArray[np.float64]]
"""Arrays by name that are summed over shards."""
Decision = dict[str, Any]
"""JSON-able; the same on every shard."""


_BLOCK = 1 << 15
"""Elements that are multiplied at once: p blocks in double precision stay in the processor's cache."""


class RoundServer(ServerStrategy):
    """Base of the server halves. Versions grow by the number of contributions when a round closes."""

    pulls_wait = True
    rounds = True
    measures = False
    """True: `measure` is asked on every shard before `decide`."""
    oracle = False
    """True: `decide` also gets `losses` (1 + p,), at the centre and after a step of length `trial` by each vector
    alone, from a process with data and a model. Not there while that process is away. Needs `measures`."""

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        gather(state, span, push, vector)

    def finish(self, state: ShardState, push: Push) -> None:
        if push.bare:
            state.inbox[push.worker] = Contribution(push, np.empty(0, np.float32), complete=True)
        part = state.inbox.get(push.worker)
        if part and part.push.sequence == push.sequence:
            part.complete = True

    def may_pull(self, state: ShardState, worker: int) -> bool:
        return worker not in state.inbox

    def measure(self, state: ShardState, given: Sequence[Contribution]) -> Measures:
        """This shard's part of the numbers that `decide` needs, contributions in order of worker."""
        return {}

    def trial(self, state: ShardState) -> float:
        """Length of the steps that the oracle tries."""
        return 0.0

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        """What every shard is to do with the round of `pushes`; on shard 0 only."""
        return {}

    @abstractmethod
    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        """Folds the round's contributions, in order of worker, into the state; may overwrite their vectors."""


def gram(vectors: Sequence[F32]) -> npt.NDArray[np.float64]:
    """(p, p) inner products of this shard's parts of p vectors, accumulated in double precision."""
    total = np.zeros((len(vectors), len(vectors)))
    for start in range(0, vectors[0].size, _BLOCK):
        block = np.stack([vector[start : start + _BLOCK] for vector in vectors]).astype(np.float64)
        total += block @ block.T
    return total


def mean(vectors: Sequence[F32]) -> F32:
    """The mean of p >= 1 vectors of shape (n,), summed in their order; the first one is overwritten with it."""
    total = vectors[0]
    for vector in vectors[1:]:
        total += vector
    total *= np.float32(1.0 / len(vectors))
    return total
