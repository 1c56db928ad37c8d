"""Synchronous SGD, the baseline: a round is one gradient of every live worker at the same weights; their mean moves
the centre.

The sum goes through workers in order of index, so a run does not depend on who was first. Momentum is safe here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientWorker
from asgd.algorithms.grouped import optimizer_of
from asgd.algorithms.rounds import Decision, RoundServer, mean
from asgd.algorithms.schedule import learning_rate
from asgd.kernel import F32
from asgd.spec.types import JobSpec, Optimizer


def before(state: ShardState) -> int:
    """Samples of the job before the round that is open: those of its contributions are counted when they come."""
    return state.samples - sum(part.push.samples for part in state.inbox.values())


class SyncServer(RoundServer):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.optimizer = optimizer_of(self.hyper)
        self.slots = self.optimizer.slots
        self._decays = any(own.weight_decay for own in self.hyper.kinds)
        self.whole = self.optimizer.whole

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        self.optimizer.lay_out(tensors)

    def follow(self, rule: Optimizer) -> None:
        super().follow(rule)
        self.optimizer = optimizer_of(self.hyper)
        self._decays = any(own.weight_decay for own in self.hyper.kinds)

    def admit(self, push: Push, state: ShardState) -> str:
        # A gradient of an older round belongs to other weights.
        return "stale" if push.staleness else ""

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        self.move(state, mean([part.vector for part in given]))

    def move(self, state: ShardState, gradient: F32) -> None:
        """One step of `spec.optimizer` by an (n,) gradient, which is overwritten."""
        rate = learning_rate(self.spec.optimizer, before(state), state.dataset)
        rounds = state.facts["rounds"] = int(state.facts.get("rounds", 0)) + 1
        # Where it may, `gradient` serves as the optimizer's scratch as well: one array of the shard's size less.
        scratch = np.empty_like(gradient) if self._decays else gradient
        self.optimizer.at(state.start).update(
            state.weights, gradient, rate, slots=state.slots, scratch=scratch, count=rounds
        )


STRATEGY = Strategy("sync", SyncServer, GradientWorker, counts="samples")
