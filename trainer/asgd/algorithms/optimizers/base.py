"""What all optimizers share: one step on flat vectors, the same for a server's numpy chunk and a worker's torch vector.

The arithmetic is fixed: products are rounded before they are added (algorithms.md 2e). Rules, names and defaults are
those of `torch.optim`, bit for bit where PyTorch's fused products round nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
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


class Optimizer(ABC):
    """`update(w, g, rate, slots, scratch, count, scale)` moves w (n,) by gradient g (n,); nothing of g is changed.

    slots: {name: (n,)} of this object's `slots`, zero at the start; scratch: (n,); count: updates so far, from 1.
    scale: what this gradient alone counts, as a share (staleness, deltas' mean); momentum remembers it so. A negative
    rate ascends, which is how a pushed delta is fed to an outer optimizer.
    """

    slots: tuple[str, ...] = ()
    decoupled: bool = False
    """Weight decay shrinks the weights by a part of the rate (`shrink`); else it is a part of the gradient."""

    whole: bool = False
    """It looks at whole tensors, and takes vectors that cut none of them (`lay_out`)."""

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec

    def lay_out(self, tensors: Iterable[tuple[str, Sequence[int]]]) -> None:  # noqa: B027  (few look at tensors)
        """The vector's `tensors`, (name, shape) in flat order, are known."""

    @property
    def adds(self) -> bool:
        """Whether an update is `w += -rate * g` and nothing more."""
        return False

    def at(self, place: int) -> Optimizer:
        """The optimizer of vectors that begin at element `place` of the flat one."""
        return self

    def update(
        self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int, scale: float = 1.0
    ) -> None:  # fmt: skip
        decay = self.spec.weight_decay if rate >= 0 else -self.spec.weight_decay
        if decay and not self.decoupled:
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

    def shrink(self, rate: float) -> float:
        """What is left of a weight after decoupled decay."""
        return 1 - abs(rate) * self.spec.weight_decay

    @abstractmethod
    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        """The update proper; g may be `scratch` itself."""
