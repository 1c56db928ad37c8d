"""A-SGD: workers push gradients or accumulated local steps, shards apply them in the order in which they arrive.

Paine et al. 2013 (arXiv 1312.6186) and Downpour (Dean et al. 2012); rules in algorithms.md 2a. Gradient mode sends g,
and the shard's optimizer applies it. Delta mode sends x_i - x_base after local steps, and the shard adds it. Deltas
are summed; `deltaScale: mean` divides each by the number of live workers. Bounded staleness: `Refuse` drops a push
that is too old, `Scale` shrinks it (Zhang et al. 2015, with max 1: rate / staleness), `Wait` holds a worker that is
too far ahead (SSP, Ho et al. 2013).
"""

from __future__ import annotations

from collections.abc import Sequence

from asgd.algorithms.base import Push, ServerStrategy, ShardState, Strategy, Turn, Vector, WorkerStrategy
from asgd.algorithms.gathering import gather, gathered
from asgd.algorithms.grouped import local_optimizer, optimizer_of
from asgd.algorithms.optimizers import add_scaled, make_optimizer
from asgd.algorithms.schedule import learning_rate
from asgd.kernel import F32
from asgd.spec.types import JobSpec, Optimizer, OuterOptimizer


def sends_gradients(spec: JobSpec) -> bool:
    """Gradient mode: asked for, or `auto` with an exchange after every step."""
    mode = spec.algorithm.get("mode", "auto")
    return mode == "gradient" or (
        mode == "auto" and spec.exchange.fetch_every == spec.exchange.push_every == 1
    )


class AsgdServer(ServerStrategy):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.gradients = sends_gradients(spec)
        self.rule: Optimizer | OuterOptimizer | None = (
            spec.optimizer if self.gradients else spec.outer_optimizer
        )
        outer = make_optimizer(self.rule) if self.rule else None
        self.optimizer = optimizer_of(self.hyper) if self.gradients else outer
        self.slots = self.optimizer.slots if self.optimizer else ()
        self.whole = self.optimizer is not None and self.optimizer.whole
        self.bound = spec.exchange.staleness
        self.mean = spec.algorithm.get("deltaScale", "sum") == "mean"
        self._bounded = self.bound.max is not None and self.bound.policy == "Wait"
        self.pulls_wait = self._bounded or self.whole

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        if self.optimizer is not None:
            self.optimizer.lay_out(tensors)

    def follow(self, rule: Optimizer) -> None:
        super().follow(rule)
        if self.gradients:
            self.rule, self.optimizer = rule, optimizer_of(self.hyper)

    def admit(self, push: Push, state: ShardState) -> str:
        if self.rule:
            push.rate = learning_rate(self.rule, state.samples, state.dataset)
        limit = self.bound.max
        if limit is None or push.staleness <= limit:
            return ""
        if self.bound.policy == "Refuse":
            return "stale"
        if self.bound.policy == "Scale":
            push.scale = max(1, limit) / push.staleness
        return ""

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        if self.whole:
            gather(state, span, push, vector)
        else:
            self._move(state, span, push, vector, state.scratch[: vector.size])

    def finish(self, state: ShardState, push: Push) -> None:
        vector = gathered(state, push) if self.whole else None
        if vector is not None:
            # NB: nobody reads it any more, so that it serves as scratch as well.
            self._move(state, slice(0, vector.size), push, vector, vector)

    def _move(self, state: ShardState, span: slice, push: Push, vector: F32, scratch: F32) -> None:
        weights = state.weights[span]
        if self.optimizer is None:
            add_scaled(weights, vector, self._scale(state, push), scratch)
            return
        slots = {name: array[span] for name, array in state.slots.items()}
        self.optimizer.at(state.start + span.start).update(
            weights, vector, push.rate if self.gradients else -push.rate, slots=slots, scratch=scratch,
            count=push.version, scale=self._scale(state, push),
        )  # fmt: skip

    def factor(self, state: ShardState, push: Push) -> float | None:
        if self.optimizer is None:
            return self._scale(state, push)
        return -self._rate(state, push) if self.optimizer.adds else None

    def _scale(self, state: ShardState, push: Push) -> float:
        return push.scale if self.gradients or not self.mean else push.scale / max(1, state.workers)

    def _rate(self, state: ShardState, push: Push) -> float:
        scale = self._scale(state, push)
        return push.rate * scale if self.gradients else -push.rate * scale

    def may_pull(self, state: ShardState, worker: int) -> bool:
        if not self._bounded or worker not in state.clocks:
            return True
        return state.clocks[worker] - min(state.clocks.values()) <= (self.bound.max or 0)


class AsgdWorker(WorkerStrategy):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.gradients = sends_gradients(spec)
        self.raw = self.gradients and spec.exchange.fetch_every == spec.exchange.push_every == 1
        self.keeps_changes = not self.gradients
        self.optimizer = None if self.gradients else local_optimizer(self.hyper)
        self.unpushed = 0

    def joined(self, w: Vector) -> None:
        if self.optimizer is not None:
            self.optimizer.forget()
            self.unpushed = 0
            self.anchor = w * 1
            self.delta = w * 0
            self.scratch = w * 0

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        if self.optimizer is None:
            return
        self.unpushed += 1
        self.optimizer.step(w, g, rate, self.scratch)

    def turn(self, step: int) -> Turn:
        exchange = self.spec.exchange
        return Turn(push=step % exchange.push_every == 0, pull=step % exchange.fetch_every == 0)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        """The gradient, or the local steps since the last push; those count as pushed from now on."""
        if self.gradients:
            return g
        self.unpushed = 0
        self.delta[:] = w
        self.delta -= self.anchor
        self.anchor[:] = w
        return self.delta

    def incoming(self, w: Vector, pulled: Vector) -> None:
        """The centre replaces the weights; local steps that are not pushed yet are kept on top of it."""
        if self.gradients:
            w[:] = pulled
            return
        # NB: weights that became inf or nan are replaced, never corrected: inf - inf would stay nan for ever.
        if self.unpushed:
            w -= self.anchor
            w += pulled
        else:
            w[:] = pulled
        self.anchor[:] = pulled


STRATEGY = Strategy("asgd", AsgdServer, AsgdWorker, counts="samples", models=True)
