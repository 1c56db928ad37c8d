"""What the strategies share that send one gradient after every step and take the centre back: the worker's half, and
the server's half that hands each gradient to the job's optimizer at a rate of the strategy's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from asgd.algorithms.base import Push, ServerStrategy, ShardState, Turn, Vector, WorkerStrategy
from asgd.algorithms.gathering import gather, gathered
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
        self.whole = self.optimizer.whole
        self.pulls_wait = self.pulls_wait or self.whole

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        self.optimizer.lay_out(tensors)

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
        if self.whole:
            gather(state, span, push, vector)
        else:
            self.move(state, span, push, vector, state.scratch[: vector.size])

    def finish(self, state: ShardState, push: Push) -> None:
        vector = gathered(state, push) if self.whole else None
        if vector is not None:
            # NB: nobody reads it any more, so that it serves as scratch as well.
            self.move(state, slice(0, vector.size), push, vector, vector)

    def move(self, state: ShardState, span: slice, push: Push, vector: F32, scratch: F32) -> None:
        """One step of `spec.optimizer` by the gradient of the elements `span`; may overwrite scratch, shaped alike."""
        slots = {name: state.slots[name][span] for name in self.optimizer.slots}
        self.optimizer.at(state.start + span.start).update(
            state.weights[span],
            vector,
            push.rate,
            slots=slots,
            scratch=scratch,
            count=state.version,
            scale=push.scale,
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
