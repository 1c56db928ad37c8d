"""Rules that give every coordinate a rate of its own, or a step of one length (Lion).

They are elementwise: where a shard or a chunk begins makes no difference to any of them.
"""

from __future__ import annotations

from typing import Any

from asgd.algorithms.optimizers.base import Optimizer
from asgd.kernel import rules
from asgd.spec.types import Optimizer as OptimizerSpec


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
        rules.root(scratch)
        scratch += self.spec.epsilon
        step /= scratch
        w += step


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with bias correction by the shard's own count of updates."""

    slots = ("first", "second")

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        b1, b2 = self.spec.betas
        shrink = self.shrink(rate) if self.decoupled else 1.0
        factors = (shrink, b1, 1 - b1, b2, 1 - b2, 1 - b2**count, self.spec.epsilon, -rate / (1 - b1**count))
        rules.move("adam", (w, g, slots["first"], slots["second"]), factors, scratch)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): w = (1 - rate decay) w before the step."""

    decoupled = True


class Lion(Optimizer):
    """Lion (Chen et al. 2023, algorithm 2): steps by the sign of b1 m + (1 - b1) g; m keeps b2 of itself."""

    slots = ("first",)
    decoupled = True

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        b1, b2 = self.spec.betas
        factors = (self.shrink(rate), b1, 1 - b1, b2, 1 - b2, -rate)
        rules.move("lion", (w, g, slots["first"]), factors, scratch)


class RmsProp(Optimizer):
    """RMSprop as `torch.optim` has it: g / (sqrt(mean of squares) + epsilon), `centered` and with momentum where asked.

    Its velocity holds normalised gradients, so staleness scales the step and not what is remembered, as with Adam.
    """

    def __init__(self, spec: OptimizerSpec) -> None:
        super().__init__(spec)
        self.slots = ("meanSquares",) + ("mean",) * spec.centered + ("velocity",) * (spec.momentum > 0)
        self._rule = "rmsprop" + " centered" * spec.centered + " heavy" * (spec.momentum > 0)

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        spec = self.spec
        factors = (spec.alpha, 1 - spec.alpha, spec.epsilon, spec.momentum, -rate)
        rules.move(self._rule, (w, g, *(slots[name] for name in self.slots)), factors, scratch)


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012): steps as long as earlier ones were, coordinate by coordinate; the rate is usually 1."""

    slots = ("meanSquares", "steps")

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        rho = self.spec.rho
        factors = (rho, 1 - rho, self.spec.epsilon, -rate)
        rules.move("adadelta", (w, g, slots["meanSquares"], slots["steps"]), factors, scratch)
