"""Several models in one job, each by steps of its own: one strategy of the job's kind for each of them.

To each half a model is a whole vector with a job of its own: its weights, slots, updates, learning rate and optimizer.
What the job has once stays one: samples (so schedules go by the job's), members and clocks. So a step of one model
changes nothing of another, whatever the strategy keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from asgd.algorithms.base import (
    LocalRule,
    Push,
    ServerStrategy,
    ShardState,
    Strategy,
    Turn,
    Vector,
    WorkerStrategy,
)
from asgd.kernel import F32
from asgd.spec.models import JobOfModels, within
from asgd.spec.types import Optimizer


class ServerOfModels(ServerStrategy):
    """`Push.part` is a model's number; `ShardState.models` are the models' updates. facts: models {name: its facts}."""

    def __init__(self, spec: JobOfModels, strategy: Strategy) -> None:
        super().__init__(spec)
        self.names, self.edges, self.parts = spec.names, spec.edges, len(spec.models)
        self.each = [strategy.server(spec.of(model)) for model in range(self.parts)]
        self.slots = tuple(dict.fromkeys(name for one in self.each for name in one.slots))
        self.figures = self.each[0].figures
        self.pulls_wait = any(one.pulls_wait for one in self.each)
        self._around: F32 | None = None
        """The weights of which the states below are views."""
        self._states: list[ShardState] = []

    # -- what is of one model --------------------------------------------------------------------------

    def _state(self, state: ShardState, model: int) -> ShardState:
        """The model as a shard of its own, at this moment."""
        if self._around is not state.weights:
            self._around = state.weights
            self._states = [self._view(state, number) for number in range(self.parts)]
        own = self._states[model]
        own.version, own.samples = state.models[model], state.samples
        own.workers, own.dataset = state.workers, state.dataset
        own.facts = state.facts.setdefault("models", {}).setdefault(self.names[model], {})
        return own

    def _view(self, state: ShardState, model: int) -> ShardState:
        span = self._span(state, model)
        return ShardState(
            state.weights[span], {name: array[span] for name, array in state.slots.items()}, state.scratch,
            start=state.start + span.start - self.edges[model], clocks=state.clocks, nodes=state.nodes,
        )  # fmt: skip

    def _span(self, state: ShardState, model: int) -> slice:
        """What this shard holds of it."""
        return slice(*within(self.edges, model, state.start, state.start + state.weights.size))

    def _states_of(self, state: ShardState) -> Iterator[tuple[ServerStrategy, ShardState]]:
        return ((one, self._state(state, model)) for model, one in enumerate(self.each))

    # -- the strategy's calls --------------------------------------------------------------------------

    @property
    def laid_out(self) -> bool:
        return all(one.laid_out for one in self.each)

    def lay_out(self, tensors: Iterable[tuple[str, int]]) -> None:
        for one, own in zip(self.each, divided(tensors, self.edges), strict=True):
            one.lay_out(own)

    def allocated(self, state: ShardState) -> None:
        for one, own in self._states_of(state):
            one.allocated(own)

    def brought(self, part: int) -> Optimizer:
        return self.each[part].brought(0)

    def follow_in(self, part: int, rule: Optimizer) -> None:
        self.each[part].follow(rule)

    def admit(self, push: Push, state: ShardState) -> str:
        return self.each[push.part].admit(push, self._state(state, push.part))

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        first = self._span(state, push.part).start
        own = slice(span.start - first, span.stop - first)
        self.each[push.part].apply(self._state(state, push.part), own, push, vector)

    def factor(self, state: ShardState, push: Push) -> float | None:
        return self.each[push.part].factor(self._state(state, push.part), push)

    def finish(self, state: ShardState, push: Push) -> None:
        self.each[push.part].finish(self._state(state, push.part), push)

    def may_pull(self, state: ShardState, worker: int) -> bool:
        return all(one.may_pull(own, worker) for one, own in self._states_of(state))

    def answer(self, state: ShardState, span: slice, worker: int) -> F32:
        """NB: some keep what they tell, and must be asked; all that serve several models tell the weights."""
        for model, (one, own) in enumerate(self._states_of(state)):
            held = self._span(state, model)
            first, stop = max(span.start, held.start), min(span.stop, held.stop)
            if first < stop or (span.start == span.stop == held.start == held.stop):
                one.answer(own, slice(first - held.start, stop - held.start), worker)
        return state.weights[span]

    def left(self, state: ShardState, worker: int) -> None:
        for one, own in self._states_of(state):
            one.left(own, worker)

    def tells(self, state: ShardState) -> dict[str, float]:
        counts = zip(self.names, state.models, strict=True)
        return {f"{name}Updates": float(count) for name, count in counts}


class WorkerOfModels(WorkerStrategy):
    """`part`, which whoever makes a step sets before, is the number of the model that it is a step of."""

    def __init__(self, spec: JobOfModels, strategy: Strategy) -> None:
        super().__init__(spec)
        self.edges, self.parts = spec.edges, len(spec.models)
        self.each = [strategy.worker(spec.of(model)) for model in range(self.parts)]
        first = self.each[0]
        self.raw, self.keeps_changes, self.own_rule = first.raw, first.keeps_changes, first.own_rule
        self.models = [slice(*pair) for pair in zip(self.edges, self.edges[1:], strict=False)]
        self._steps = [0] * self.parts

    @property
    def span(self) -> slice:  # type: ignore[override]
        return self.models[self.part]

    @property
    def _now(self) -> WorkerStrategy:
        own = self.each[self.part]
        own.workers, own.dataset, own.notes = self.workers, self.dataset, self.notes
        return own

    @property
    def optimizer(self) -> LocalRule | None:  # type: ignore[override]
        return self.each[self.part].optimizer

    def lay_out(self, tensors: Iterable[tuple[str, int]]) -> None:
        for one, own in zip(self.each, divided(tensors, self.edges), strict=True):
            one.lay_out(own)

    def describe(self, tensors: Sequence[tuple[str, Sequence[int]]]) -> None:
        sizes = [(name, math.prod(shape)) for name, shape in tensors]
        shapes = dict(tensors)
        for one, own in zip(self.each, divided(sizes, self.edges), strict=True):
            one.describe([(name, shapes[name]) for name, _ in own])

    def joined(self, w: Vector) -> None:
        self._out = None if self.raw else w * 0
        for one, span in zip(self.each, self.models, strict=True):
            one.workers, one.dataset = self.workers, self.dataset
            one.joined(w[span])

    def step(self, w: Vector, g: Vector, rate: float) -> None:
        self._steps[self.part] += 1
        self._now.step(w[self.span], g[self.span], rate)

    def turn(self, step: int) -> Turn:
        return self._now.turn(self._steps[self.part])

    def outgoing(self, w: Vector, g: Vector) -> Vector | None:
        """As long as all models together; only the elements of this one are read."""
        own = self._now.outgoing(w[self.span], g[self.span])
        if own is None or self._out is None:
            return None if own is None else g
        self._out[self.span] = own
        return self._out

    def meta(self) -> dict[str, float]:
        return self._now.meta()

    def incoming(self, w: Vector, pulled: Vector) -> None:
        self._now.incoming(w[self.span], pulled[self.span])

    def follow(self) -> Turn:
        return self._now.follow()

    def parting(self, w: Vector) -> Vector | None:
        return None


def each_half(rule: WorkerStrategy) -> Sequence[WorkerStrategy]:
    """One of each model."""
    return rule.each if isinstance(rule, WorkerOfModels) else (rule,)


def divided(tensors: Iterable[tuple[str, int]], edges: Sequence[int]) -> list[list[tuple[str, int]]]:
    """(name, elements) in flat order, by model."""
    found: list[list[tuple[str, int]]] = [[] for _ in edges[1:]]
    model = place = 0
    for name, size in tensors:
        while place >= edges[model + 1] and model + 2 < len(edges):
            model += 1
        found[model].append((name, size))
        place += size
    return found
