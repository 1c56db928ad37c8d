"""A worker's own optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asgd.algorithms.optimizers.base import Optimizer
from asgd.algorithms.optimizers.named import make_optimizer
from asgd.spec.types import Optimizer as OptimizerSpec


class LocalOptimizer:
    """`spec.optimizer` as a worker's own (`base.LocalRule`) and its state; arrays are made in the first step."""

    relative = False

    def __init__(self, spec: OptimizerSpec | Optimizer) -> None:
        self._optimizer = spec if isinstance(spec, Optimizer) else make_optimizer(spec)
        self._slots: dict[str, Any] = {}
        self.steps = 0
        """Steps so far."""

    def step(self, w: Any, g: Any, rate: float, scratch: Any) -> None:
        """Moves w (n,) by gradient g (n,)."""
        self.steps += 1
        if not self._slots:
            # NB: an array of its own for each; Adam's two must not be one.
            self._slots.update((name, w * 0) for name in self._optimizer.slots)
        self._optimizer.update(w, g, rate, slots=self._slots, scratch=scratch, count=self.steps)

    def lay_out(self, tensors: Iterable[tuple[str, Sequence[int]]]) -> None:
        """The model's tensors, (name, shape) in flat order; told before the first step."""
        self._optimizer.lay_out(tensors)

    def forget(self) -> None:
        """Starts anew from weights that others trained."""
        self._slots.clear()
        self.steps = 0

    def learning_rate(self, rate: float) -> float:
        """The job's."""
        return rate
