"""EASGD and EAMSGD (Zhang, Choromanska, LeCun 2015): workers and centre pull at each other with an elastic force.

With alpha = beta / p, every `period` steps a worker sends x_i; the shard moves the centre by e = alpha (x_i -
centre) and answers with it; from the new centre the worker knows e = alpha / (1 - alpha) (x_i - centre), so the
shard keeps nothing for it. As in the authors' code the gradient step is taken at the old x_i, and then x_i -= e.
`synchronous` closes rounds instead, in which both sides use the old values. EAMSGD steps by Nesterov's momentum.
See algorithms.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asgd.algorithms.base import (
    Contribution,
    Push,
    ServerStrategy,
    ShardState,
    Strategy,
    Turn,
    Vector,
    WorkerStrategy,
)
from asgd.algorithms.grouped import local_optimizer
from asgd.algorithms.rounds import Decision, RoundServer
from asgd.kernel import F32
from asgd.spec.types import JobSpec


def make_server(spec: JobSpec) -> ServerStrategy:
    """The half that `algorithm.synchronous` asks for."""
    return SyncEasgdServer(spec) if spec.algorithm.get("synchronous", False) else EasgdServer(spec)


class EasgdServer(ServerStrategy):
    figures = ("alpha",)

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        weights = state.weights[span]
        force = vector - weights
        force *= np.float32(push.meta["alpha"])
        weights += force


class SyncEasgdServer(RoundServer):
    slots = ("previous",)
    figures = ("alpha",)

    def admit(self, push: Push, state: ShardState) -> str:
        return "stale" if push.staleness else ""

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        previous = state.slots["previous"]
        previous[:] = state.weights
        for part in given:
            force = part.vector
            force -= previous
            force *= np.float32(part.push.meta["alpha"])
            state.weights += force
        state.facts["closed"] = True

    def answer(self, state: ShardState, span: slice, worker: int) -> F32:
        old = worker >= 0 and state.facts.get("closed", False)
        return state.slots["previous"][span] if old else state.weights[span]


class EasgdWorker(WorkerStrategy):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.beta = float(spec.algorithm.get("beta", 0.9))
        self.period = int(spec.algorithm.get("period", 10))
        self.synchronous = bool(spec.algorithm.get("synchronous", False))
        if not any(own.momentum for own in self.hyper.kinds):
            self.optimizer = local_optimizer(self.hyper)
        else:
            self.own_rule = "Nesterov's momentum, whose gradients are taken ahead of the worker's own point"
        self.alpha = 0.0

    def joined(self, w: Vector) -> None:
        # x is the worker's own point; w, where gradients are taken, is ahead of it by the momentum.
        self.x, self.v, self.sent, self.scratch = w * 1, w * 0, w * 1, w * 0
        if self.optimizer:
            self.optimizer.forget()

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self.sent[:] = self.x
        if self.optimizer:
            self.optimizer.step(w, g, rate, self.scratch)
            self.x[:] = w
            return
        self.scratch[:] = g
        for piece in self.hyper.over(0, len(w)):
            at, own = piece.span, piece.own
            t, v, x = self.scratch[at], self.v[at], self.x[at]
            if own.weight_decay:
                here = w[at]
                here *= own.weight_decay
                t += here
            t *= -rate * piece.rate
            v *= own.momentum
            v += t
            x += v
        self._look_ahead(w)

    def _look_ahead(self, w: Vector) -> None:
        w[:] = self.x
        for piece in self.hyper.over(0, len(w)):
            if piece.own.momentum:
                ahead, here = self.scratch[piece.span], w[piece.span]
                ahead[:] = self.v[piece.span]
                ahead *= piece.own.momentum
                here += ahead

    def turn(self, step: int) -> Turn:
        due = (step - 1) % self.period == 0
        return Turn(push=due, pull=due)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        # The centre owns the number of workers: alpha follows it when workers come and go.
        self.alpha = self.beta / max(1, self.workers)
        return self.sent

    def meta(self) -> dict[str, float]:
        return {"alpha": self.alpha}

    def incoming(self, w: Vector, pulled: Vector) -> None:
        # NB: alpha < 1 is a rule of the API (stability), so the division is safe.
        factor = self.alpha if self.synchronous else self.alpha / (1 - self.alpha)
        self.sent -= pulled
        self.sent *= factor
        self.x -= self.sent
        self._look_ahead(w)


_FIELDS = ("beta", "period", "synchronous")
EASGD = Strategy("easgd", make_server, EasgdWorker, fields=_FIELDS, counts="samples", models=True)
EAMSGD = Strategy("eamsgd", make_server, EasgdWorker, fields=_FIELDS, counts="samples", models=True)
