"""What the strategies share that send one gradient after every step and take the centre back: the worker's half, and
the server's half that hands each gradient to the job's optimizer at a rate of the strategy's own.
"""

from __future__ import annotations

from asgd.algorithms.base import Push, ServerStrategy, ShardState, Turn, Vector, WorkerStrategy
from asgd.algorithms.grouped import optimizer_of
from asgd.algorithms.schedule import learning_rate
from asgd.kernel import F32
from asgd.spec.types import JobSpec, Optimizer


class GradientServer(ServerStrategy):
    """Applies each gradient by `spec.optimizer`; `scale(push)` is the factor on its learning rate."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.optimizer = optimizer_of(self.hyper)
        self.slots = self.optimizer.slots

    def follow(self, rule: Optimizer) -> None:
        super().follow(rule)
        self.optimizer = optimizer_of(self.hyper)

    def scale(self, push: Push) -> float:
        """1 for plain asynchronous SGD."""
        return 1.0

    def admit(self, push: Push, state: ShardState) -> str:
        push.rate = learning_rate(self.spec.optimizer, state.samples, state.dataset)
        push.scale = self.scale(push)
        return ""

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        weights, scratch = state.weights[span], state.scratch[: vector.size]
        slots = {name: state.slots[name][span] for name in self.optimizer.slots}
        self.optimizer.at(state.start + span.start).update(
            weights, vector, push.rate, slots=slots, scratch=scratch, count=state.version, scale=push.scale
        )


class GradientWorker(WorkerStrategy):
    """Sends each gradient as it is and goes on from what the centre then holds."""

    raw = True

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        return None

    def turn(self, step: int) -> Turn:
        return Turn(push=True, pull=True)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        return g

    def incoming(self, w: Vector, pulled: Vector) -> None:
        w[:] = pulled
