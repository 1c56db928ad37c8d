"""First-order optimizers on flat vectors, the same code for a server's numpy chunk and a worker's torch vector.

Each update is elementwise, so it does not depend on where chunks or shards begin. The arithmetic is fixed: products are
rounded before they are added (algorithms.md 2e). Rules, names and defaults are those of `torch.optim`, bit for bit
where PyTorch's fused products round nothing. So the rate is outside of the velocity (`v = mu v + g; w -= lr v`), and
a schedule's new rate is at once that of all that lies in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from asgd import kernel
from asgd.spec.types import Optimizer as OptimizerSpec


def add_scaled(w: Any, g: Any, a: float, scratch: Any) -> None:
    """w += g * a, two roundings an element; `scratch` is shaped like w and used for tensors."""
    if isinstance(w, np.ndarray):
        kernel.axpy(w, g, a)
        return
    scratch[:] = g
    scratch *= a
    w += scratch


def _root(values: Any) -> None:
    """Square root in place, correctly rounded in both libraries."""
    if isinstance(values, np.ndarray):
        np.sqrt(values, out=values)
    else:
        # NB: PyTorch's own float32 root is off by one bit in every sixth element; a double's is exact once rounded.
        values[:] = values.double().sqrt_()


class Optimizer(ABC):
    """`update(w, g, rate, slots, scratch, count, scale)` moves w (n,) by gradient g (n,); nothing of g is changed.

    slots: {name: (n,)} of this object's `slots`, zero at the start; scratch: (n,); count: updates so far, from 1.
    scale: what this gradient alone counts, as a share (staleness, deltas' mean); momentum remembers it so. A negative
    rate ascends, which is how a pushed delta is fed to an outer optimizer.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec

    @property
    def adds(self) -> bool:
        """Whether an update is `w += -rate * g` and nothing more."""
        return False

    def update(
        self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int, scale: float = 1.0
    ) -> None:  # fmt: skip
        decay = self.spec.weight_decay if rate >= 0 else -self.spec.weight_decay
        if decay:
            scratch[:] = w
            scratch *= decay
            scratch += g
            g = scratch
        if scale != 1.0 and "momentum" in self.slots:
            if g is not scratch:
                scratch[:] = g
            scratch *= scale
            g, scale = scratch, 1.0
        self.move(w, g, rate * scale, slots=slots, scratch=scratch, count=count)

    @abstractmethod
    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        """The update proper; g may be `scratch` itself."""


class Sgd(Optimizer):
    """w += -rate * g: one pass of memory in the compiled kernel."""

    @property
    def adds(self) -> bool:
        return not self.spec.weight_decay

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        if g is scratch:
            scratch *= -rate
            w += scratch
        else:
            add_scaled(w, g, -rate, scratch)


class Momentum(Optimizer):
    """Heavy ball, v = mu v + g; w -= rate v, or Nesterov's form of it, w -= rate (g + mu v)."""

    slots = ("momentum",)

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        v, mu = slots["momentum"], self.spec.momentum
        v *= mu
        v += g
        if not self.spec.nesterov:
            add_scaled(w, v, -rate, scratch)
            return
        if g is not scratch:
            scratch[:] = g
        if isinstance(scratch, np.ndarray):
            kernel.axpy(scratch, v, mu)
        else:
            scratch += v * mu
        scratch *= -rate
        w += scratch


class Adagrad(Optimizer):
    """Downpour's server rule: every coordinate has its own rate, rate / sqrt(sum of its squared gradients)."""

    slots = ("squares",)

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        h = slots["squares"]
        step = g * -rate
        scratch[:] = g
        scratch *= scratch
        h += scratch
        scratch[:] = h
        _root(scratch)
        scratch += self.spec.epsilon
        step /= scratch
        w += step


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with bias correction by the shard's own count of updates."""

    slots = ("first", "second")

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        m, v, (b1, b2) = slots["first"], slots["second"], self.spec.betas
        step = g * (1 - b1)
        m *= b1
        m += step
        scratch[:] = g
        scratch *= scratch
        scratch *= 1 - b2
        v *= b2
        v += scratch
        scratch[:] = v
        scratch /= 1 - b2**count
        _root(scratch)
        scratch += self.spec.epsilon
        step[:] = m
        step *= -rate / (1 - b1**count)
        step /= scratch
        w += step


def make_optimizer(spec: OptimizerSpec) -> Optimizer:
    """The optimizer that `optimizer.name` and its fields ask for."""
    if spec.name == "sgd":
        return Momentum(spec) if spec.momentum else Sgd(spec)
    return {"adagrad": Adagrad, "adam": Adam}[spec.name](spec)


class LocalOptimizer:
    """`spec.optimizer` as a worker's own (`base.LocalRule`) and its state; arrays are made in the first step."""

    relative = False

    def __init__(self, spec: OptimizerSpec) -> None:
        self._optimizer = make_optimizer(spec)
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

    def forget(self) -> None:
        """Starts anew from weights that others trained."""
        self._slots.clear()
        self.steps = 0

    def learning_rate(self, rate: float) -> float:
        """The job's."""
        return rate
