"""An optimizer whose hyper-parameters differ from group to group (`spec.optimizer.groups`).

It hands each piece of a vector to the plain optimizer of its group. Groups may need different arrays (one has momentum,
another has none): all of them are there for all elements, and a piece uses its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from asgd.algorithms.hyper import HyperParameters
from asgd.algorithms.optimizers import LocalOptimizer, Optimizer, make_optimizer


def optimizer_of(hyper: HyperParameters) -> Optimizer:
    """The optimizer of the elements that `hyper` describes."""
    return Grouped(hyper) if hyper.grouped else make_optimizer(hyper.optimizer)


def local_optimizer(hyper: HyperParameters) -> LocalOptimizer:
    """A worker's own."""
    return LocalOptimizer(optimizer_of(hyper))


class Grouped(Optimizer):
    """Of vectors whose first element has place `place` in the flat one."""

    def __init__(self, hyper: HyperParameters, place: int = 0) -> None:
        super().__init__(hyper.optimizer)
        self._hyper, self._place = hyper, place
        self._optimizers = {own: make_optimizer(own) for own in hyper.kinds}
        self._tensors: list[tuple[int, str, Sequence[int]]] = []
        """(where it begins, name, shape), where a rule looks at tensors."""
        self.slots = tuple(dict.fromkeys(name for each in self._optimizers.values() for name in each.slots))
        self.whole = any(optimizer.whole for optimizer in self._optimizers.values())

    def lay_out(self, tensors: Iterable[tuple[str, Sequence[int]]]) -> None:
        start = 0
        if self.whole:
            self._tensors.clear()
            for name, shape in tensors:
                self._tensors.append((start, name, shape))
                start += math.prod(shape)

    def at(self, place: int) -> Optimizer:
        placed = copy(self)
        placed._place = place
        return placed

    def update(
        self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int, scale: float = 1.0
    ) -> None:  # fmt: skip
        for piece in self._hyper.over(self._place, len(w)):
            span, optimizer = piece.span, self._optimizers[piece.own]
            own = {name: slots[name][span] for name in optimizer.slots}
            part = g[span]
            if optimizer.whole:
                # NB: groups are of whole tensors, and so are the pieces of a vector that cuts none.
                begin, end = self._place + (span.start or 0), self._place + (span.stop or len(w))
                optimizer.lay_out((name, shape) for at, name, shape in self._tensors if begin <= at < end)
            optimizer.update(
                w[span], part, rate * piece.rate, slots=own, scratch=part if g is scratch else scratch[span],
                count=count, scale=scale,
            )  # fmt: skip

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        raise NotImplementedError("each group's own optimizer moves its elements")
