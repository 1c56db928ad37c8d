"""Rules that look at whole tensors: LAMB scales each one's step, Muon makes it orthogonal.

They run where whole tensors and the model's layout are at hand: in workers that make local steps, and on servers, which
gather a push first and whose shards cut no tensor (`gathering.py`). Norms are taken in double precision; what numpy and
torch sum in another order may differ in the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import numpy as np

from asgd.algorithms.optimizers.base import Optimizer
from asgd.algorithms.optimizers.orthogonal import orthogonal
from asgd.kernel import rules

Tensors = Iterable[tuple[str, Sequence[int]]]
"""(name, shape) in flat order."""


class Layerwise(Optimizer):
    """Base of the rules; `lay_out` is called before the first step. Without it the vector counts as one tensor."""

    slots = ("first", "second")
    decoupled = True
    whole = True

    _places: tuple[tuple[slice, Sequence[int]], ...] = ()
    _start = 0
    """Where the vector begins that it moves."""

    def lay_out(self, tensors: Tensors) -> None:
        found, start = [], 0
        for _, shape in tensors:
            stop = start + math.prod(shape)
            found.append((slice(start, stop), shape))
            start = stop
        self._places = tuple(found)

    def at(self, place: int) -> Optimizer:
        placed = copy(self)
        placed._start = place
        return placed

    def places(self, w: Any) -> Sequence[tuple[slice, Sequence[int]]]:
        """The elements and the shape of each tensor in w (n,)."""
        if not self._places:
            return ((slice(0, len(w)), (len(w),)),)
        start, stop = self._start, self._start + len(w)
        return [
            (slice(span.start - start, span.stop - start), shape)
            for span, shape in self._places
            if start <= span.start and span.stop <= stop
        ]


class Lamb(Layerwise):
    """LAMB (You et al. 2020, algorithm 2): Adam's step and the decay, as long as the tensor itself times the rate.

    A tensor that is all zero, or whose step is, takes the step as it is.
    """

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        m, v, (b1, b2) = slots["first"], slots["second"], self.spec.betas
        step = w * 0
        # Adam's step of rate -1 from 0 is the one that LAMB measures.
        factors = (1.0, b1, 1 - b1, b2, 1 - b2, 1 - b2**count, self.spec.epsilon, 1 / (1 - b1**count))
        rules.move("adam", (step, g, m, v), factors, scratch)
        if self.spec.weight_decay:
            scratch[:] = w
            scratch *= self.spec.weight_decay
            step += scratch
        for span, _ in self.places(w):
            part = step[span]
            long, wide = _norm(w[span]), _norm(part)
            part *= -rate * (long / wide if long > 0 and wide > 0 else 1.0)
        w += step


class Muon(Layerwise):
    """Muon (Jordan et al. 2024) on matrices, as `torch.optim.Muon` has it; AdamW on tensors of other shapes."""

    def move(self, w: Any, g: Any, rate: float, slots: dict[str, Any], scratch: Any, count: int) -> None:
        spec, m, v, (b1, b2) = self.spec, slots["first"], slots["second"], self.spec.betas
        factors = (
            self.shrink(rate), b1, 1 - b1, b2, 1 - b2, 1 - b2**count, spec.epsilon, -rate / (1 - b1**count),
        )  # fmt: skip
        for span, shape in self.places(w):
            part, own = w[span], scratch[span]
            if len(shape) != 2:
                rules.move("adam", (part, g[span], m[span], v[span]), factors, own)
                continue
            smoothed = _smoothed(m[span], g[span], spec.momentum, spec.nesterov)
            own[:] = orthogonal(smoothed.reshape(*shape), spec.ns_steps).reshape(-1)
            own *= -rate * _adjusted(shape, spec.adjust_lr_fn)
            part *= self.shrink(rate)
            part += own


def _smoothed(m: Any, g: Any, mu: float, nesterov: bool) -> Any:
    """m goes towards g; returns it, or with Nesterov what it would be after as much again."""
    if not isinstance(m, np.ndarray):
        m.lerp_(g, 1 - mu)
        return g.lerp(m, mu) if nesterov else m
    m *= mu
    m += g * (1 - mu)
    return g * (1 - mu) + m * mu if nesterov else m


def _adjusted(shape: Sequence[int], how: str) -> float:
    """The factor on the rate of a matrix of (rows, columns)."""
    rows, columns = shape
    if how == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / max(1, columns)))


def _norm(vector: Any) -> float:
    """Length of (n,), in double precision."""
    if isinstance(vector, np.ndarray):
        return float(np.sqrt(np.square(vector, dtype=np.float64).sum()))
    return float(vector.double().norm())
