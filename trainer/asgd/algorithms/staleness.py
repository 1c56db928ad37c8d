"""Staleness-aware asynchronous SGD (Zhang et al. 2015): a gradient that is s versions old moves the centre by rate
/ s.

Gradients with s <= 1 are applied as in A-SGD, to the bit. n-softsync (`softsync`: n) gathers c = workers / n of them
and applies their mean once; s then counts such updates, of which about n pass between a fetch and a push. See
algorithms.md section 3.
"""

from __future__ import annotations

import numpy as np

from asgd.algorithms.base import Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.kernel import F32
from asgd.spec.types import JobSpec


class StalenessServer(GradientServer):
    """facts of softsync: gathered (gradients that wait for others), applied (updates so far)."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.softsync = int(spec.algorithm.get("softsync", 0))
        if self.softsync:
            self.slots = (*self.slots, "gathered")

    def scale(self, push: Push) -> float:
        return 1.0 / max(1, push.staleness)

    def admit(self, push: Push, state: ShardState) -> str:
        reason = super().admit(push, state)
        if self.softsync:
            count = max(1, state.workers // self.softsync)
            push.scale = 1.0 / max(1, push.staleness // count)
            gathered = int(state.facts.get("gathered", 0)) + 1
            last = gathered >= count
            state.facts["gathered"] = 0 if last else gathered
            state.facts["applied"] = int(state.facts.get("applied", 0)) + last
            push.meta = {"share": 1.0 / count, "last": float(last), "applied": float(state.facts["applied"])}
        return reason

    def move(self, state: ShardState, span: slice, push: Push, vector: F32, scratch: F32) -> None:
        if not self.softsync:
            super().move(state, span, push, vector, scratch)
            return
        gathered = state.slots["gathered"][span]
        np.multiply(vector, np.float32(push.scale * push.meta["share"]), out=scratch)
        gathered += scratch
        if push.meta["last"]:
            slots = {name: state.slots[name][span] for name in self.optimizer.slots}
            applied = int(push.meta["applied"])
            self.optimizer.at(state.start + span.start).update(
                state.weights[span], gathered, push.rate, slots=slots, scratch=scratch, count=applied
            )
            gathered[:] = 0


STRATEGY = Strategy(
    "staleness-aware", StalenessServer, GradientWorker, fields=("softsync",), counts="fewer", models=True
)
