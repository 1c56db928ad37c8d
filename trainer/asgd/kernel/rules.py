"""Elementwise optimizers, one step each: a compiled pass for numpy arrays, and the same bits by in-place operators.

The operators serve torch vectors, and machines without a compiler.

`arrays` are (w, g, slots ...), each (n,) float32: w and the slots move by g, and nothing of g is changed. A factor is
rounded to float32 before it is used. Every product, sum, quotient and root is rounded by itself, in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asgd.kernel import COMPILED_MODULE

Vector = Any
"""(n,) float32: a numpy array, or a torch tensor on any device."""


def root(values: Vector) -> None:
    """Square root in place, correctly rounded in both libraries."""
    if isinstance(values, np.ndarray):
        np.sqrt(values, out=values)
    else:
        # NB: PyTorch's own float32 root is off by one bit in every sixth element; a double's is exact once rounded.
        values[:] = values.double().sqrt_()


def _sign(values: Vector) -> None:
    if isinstance(values, np.ndarray):
        np.sign(values, out=values)
    else:
        values.sign_()


def _at_least_zero(values: Vector) -> None:
    if isinstance(values, np.ndarray):
        np.maximum(values, 0, out=values)
    else:
        values.clamp_(min=0)


def _averaged(mean: Vector, value: Vector, keep: float, take: float) -> None:
    """mean = keep mean + take value; `value` is overwritten."""
    value *= take
    mean *= keep
    mean += value


def _adam(
    scratch: Vector, w: Vector, g: Vector, m: Vector, v: Vector, shrink: float, keep1: float, take1: float,
    keep2: float, take2: float, correct: float, epsilon: float, rate: float,
) -> None:  # fmt: skip
    """m and v are running means of g and g g; w = shrink w + rate m / (sqrt(v / correct) + epsilon)."""
    step = g * 1
    scratch[:] = g
    scratch *= scratch
    _averaged(m, step, keep1, take1)
    _averaged(v, scratch, keep2, take2)
    scratch[:] = v
    scratch /= correct
    root(scratch)
    scratch += epsilon
    step[:] = m
    step *= rate
    step /= scratch
    w *= shrink
    w += step


def _lion(
    scratch: Vector, w: Vector, g: Vector, m: Vector, shrink: float, keep1: float, take1: float, keep2: float,
    take2: float, rate: float,
) -> None:  # fmt: skip
    """w = shrink w + rate sign(keep1 m + take1 g); then m = keep2 m + take2 g."""
    step = m * keep1
    kept = g * take2
    scratch[:] = g
    scratch *= take1
    step += scratch
    _sign(step)
    step *= rate
    w *= shrink
    w += step
    m *= keep2
    m += kept


def _rmsprop(centered: bool, heavy: bool) -> Callable[..., None]:
    def pass_(scratch: Vector, w: Vector, g: Vector, v: Vector, *rest: Any) -> None:
        """v is a running mean of g g, less the square of that of g where `centered`; h the velocity where `heavy`."""
        *more, keep, take, epsilon, mu, rate = rest
        step = g * 1
        scratch[:] = g
        scratch *= scratch
        _averaged(v, scratch, keep, take)
        scratch[:] = v
        if centered:
            taken = step * 1
            _averaged(more[0], taken, keep, take)
            taken[:] = more[0]
            taken *= taken
            scratch -= taken
            # Rounding can leave a tiny negative variance.
            _at_least_zero(scratch)
        root(scratch)
        scratch += epsilon
        if heavy:
            h = more[-1]
            step /= scratch
            h *= mu
            h += step
            step[:] = h
            step *= rate
        else:
            step *= rate
            step /= scratch
        w += step

    return pass_


def _adadelta(
    scratch: Vector, w: Vector, g: Vector, v: Vector, u: Vector, keep: float, take: float, epsilon: float, rate: float
) -> None:  # fmt: skip
    """d = sqrt(u + epsilon) / sqrt(v + epsilon) g, where v and u are running means of g g and d d; w += rate d."""
    given, step = g * 1, u + epsilon
    scratch[:] = g
    scratch *= scratch
    _averaged(v, scratch, keep, take)
    scratch[:] = v
    scratch += epsilon
    root(scratch)
    root(step)
    step /= scratch
    step *= given
    scratch[:] = step
    scratch *= scratch
    _averaged(u, scratch, keep, take)
    step *= rate
    w += step


PLAIN: dict[str, Callable[..., None]] = {
    "adam": _adam,
    "lion": _lion,
    "rmsprop": _rmsprop(centered=False, heavy=False),
    "rmsprop centered": _rmsprop(centered=True, heavy=False),
    "rmsprop heavy": _rmsprop(centered=False, heavy=True),
    "rmsprop centered heavy": _rmsprop(centered=True, heavy=True),
    "adadelta": _adadelta,
}
"""Each by in-place operators, called with (scratch, *arrays, *factors); in the order of the table of `_rules.c`."""

_PLACES = {rule: place for place, rule in enumerate(PLAIN)}


def move(rule: str, arrays: tuple[Vector, ...], factors: tuple[float, ...], scratch: Vector) -> None:
    """One step of the optimizer `rule`; `scratch` is (n,) and may be g itself, which is overwritten then."""
    if COMPILED_MODULE is not None and isinstance(arrays[0], np.ndarray):
        COMPILED_MODULE.move(_PLACES[rule], arrays, factors)
    else:
        PLAIN[rule](scratch, *arrays, *factors)
