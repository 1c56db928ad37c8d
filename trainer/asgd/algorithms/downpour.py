"""Downpour SGD (Dean et al. 2012): the shape of A-SGD with Adagrad on the server.

Between exchanges a worker steps locally by plain SGD and adds its gradients up; a push sends their sum, which the
server scales coordinate by coordinate (rate / sqrt of the sum of squared pushes); a pull replaces the worker's
weights. See algorithms.md section 2.
"""

from __future__ import annotations

from msgspec.structs import replace

from asgd.algorithms.base import Strategy, Turn, Vector, WorkerStrategy
from asgd.algorithms.gradient import GradientServer
from asgd.algorithms.optimizers import add_scaled
from asgd.spec.types import JobSpec


class DownpourServer(GradientServer):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(replace(spec, optimizer=replace(spec.optimizer, name="adagrad", momentum=0.0)))


class DownpourWorker(WorkerStrategy):
    def joined(self, w: Vector) -> None:
        self.sum = w * 0
        self.scratch = w * 0
        self.sent = w * 0

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self.sum += g
        if self.spec.exchange.fetch_every > 1 or self.spec.exchange.push_every > 1:
            for piece in self.hyper.over(0, len(w)):
                own = piece.span
                add_scaled(w[own], g[own], -rate * piece.rate, self.scratch[own])

    def turn(self, step: int) -> Turn:
        exchange = self.spec.exchange
        return Turn(push=step % exchange.push_every == 0, pull=step % exchange.fetch_every == 0)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        self.sent[:] = self.sum
        self.sum[:] = 0
        return self.sent

    def incoming(self, w: Vector, pulled: Vector) -> None:
        w[:] = pulled


STRATEGY = Strategy("downpour", DownpourServer, DownpourWorker, counts="samples", models=True)
