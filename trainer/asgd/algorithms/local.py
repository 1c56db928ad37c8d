"""What the strategies share that train locally for a while and then send how far they came: the worker's half.

Every `period` steps of `spec.optimizer` a worker sends x_i - x_base and goes on from what it gets back. Steps that
it makes while an exchange is under way (`exchange.ahead: 1`) stay on top of that. Optimizer state is the worker's
own and survives.
"""

from __future__ import annotations

from typing import Any, ClassVar

from asgd.algorithms.base import Turn, Vector, WorkerStrategy
from asgd.algorithms.optimizers import make_optimizer
from asgd.spec.types import JobSpec


class LocalWorker(WorkerStrategy):
    default_period: ClassVar[int] = 10

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.optimizer = make_optimizer(spec.optimizer)
        self.period = int(spec.algorithm.get("period", self.default_period))
        self.slots: dict[str, Any] = {}
        self.steps = 0
        self.since = 0
        """Steps since the last push."""

    def joined(self, w: Vector) -> None:
        self.anchor = w * 1
        self.delta = w * 0
        self.scratch = w * 0
        self.since = 0

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self.steps += 1
        self.since += 1
        if not self.slots:
            # NB: an array of its own for each; Adam's two must not be one.
            self.slots.update((name, w * 0) for name in self.optimizer.slots)
        self.optimizer.update(w, g, rate, slots=self.slots, scratch=self.scratch, count=self.steps)

    def turn(self, step: int) -> Turn:
        due = self.since >= self.period
        return Turn(push=due, pull=due)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        self.since = 0
        self.delta[:] = w
        self.delta -= self.anchor
        self.anchor[:] = w
        return self.delta

    def incoming(self, w: Vector, pulled: Vector) -> None:
        w -= self.anchor
        w += pulled
        self.anchor[:] = pulled
