"""SGD with and without momentum.

The rate is outside of the velocity (`v = mu v + g; w -= lr v`), as `torch.optim.SGD` has it, and a schedule's new rate
is at once that of all that lies in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd import kernel
from asgd.algorithms.optimizers.base import Optimizer, add_scaled


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
