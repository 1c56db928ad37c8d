"""What the strategies share that train locally for a while and then send how far they came: the worker's half.

Every `period` steps of its optimizer a worker sends x_i - x_base and goes on from what it gets back. Steps that
it makes while an exchange is under way (`exchange.ahead: 1`) stay on top of that. Optimizer state is the worker's
own and survives.
"""

from __future__ import annotations

from typing import ClassVar

from asgd.algorithms.base import LocalRule, Turn, Vector, WorkerStrategy
from asgd.algorithms.grouped import local_optimizer
from asgd.spec.types import JobSpec


class LocalWorker(WorkerStrategy):
    default_period: ClassVar[int] = 10
    keeps_changes = True
    optimizer: LocalRule

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.optimizer = local_optimizer(self.hyper)
        self.period = int(spec.algorithm.get("period", self.default_period))
        self.since = 0
        """Steps since the last push."""

    def joined(self, w: Vector) -> None:
        self.anchor = w * 1
        self.delta = w * 0
        self.scratch = w * 0
        self.since = 0
        self.optimizer.forget()

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self.since += 1
        self.optimizer.step(w, g, rate, self.scratch)

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
