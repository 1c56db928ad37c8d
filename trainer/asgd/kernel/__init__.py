"""The update path's inner loops: the compiled ones, or numpy's with the same bits when no compiler was at hand.

Both do `t = g * a` and then `w += t`, rounded twice (algorithms.md 2e), so the result depends neither on the machine
nor on where a shard's or a chunk's border lies. Buffers are float32 and C-contiguous.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

LOOK = 1 << 11
"""Elements that `add_below` looks at and adds at once: they stay in the first-level cache."""

_MAGNITUDE, _INFINITE = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
_BLOCK = 1 << 16
"""Elements a numpy pass works on at once: the temporary stays in the processor's cache."""


def axpy_numpy(w: F32, g: F32, a: float) -> None:
    """w += g * a in place, in numpy; w and g of shape (n,)."""
    scratch = np.empty(min(_BLOCK, w.size), np.float32)
    factor = np.float32(a)
    for start in range(0, w.size, _BLOCK):
        part = w[start : start + _BLOCK]
        t = scratch[: part.size]
        np.multiply(g[start : start + _BLOCK], factor, out=t)
        part += t


def finite_numpy(g: F32) -> bool:
    """Whether no element of g (n,) is inf or nan."""
    return all(bool(np.isfinite(g[i : i + _BLOCK]).all()) for i in range(0, g.size, _BLOCK))


def largest_numpy(g: F32) -> float:
    """The largest magnitude of g (n,), inf if any element is inf or nan."""
    parts = [(g[i : i + _BLOCK].view(np.uint32) & _MAGNITUDE).max() for i in range(0, g.size, _BLOCK)]
    top = max(parts, default=np.uint32(0))
    return math.inf if top > _INFINITE else float(np.uint32(top).view(np.float32))


def add_below_numpy(w: F32, g: F32, a: float, limit: float) -> float:
    """w += g * a in place up to the first block of `LOOK` elements of which one reaches `limit` (float32; inf: one is
    inf or nan); the largest magnitude up to that block's end."""
    with np.errstate(over="ignore"):
        bound = np.float32(limit).view(np.uint32)
    bad = np.flatnonzero((g.view(np.uint32) & _MAGNITUDE) >= bound)
    whole = g.size if not bad.size else int(bad[0]) // LOOK * LOOK
    axpy_numpy(w[:whole], g[:whole], a)
    return largest_numpy(g[: whole + LOOK])


try:
    from asgd.kernel import _kernel as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None
if not hasattr(_compiled, "move"):
    # NB: built from older sources; numpy gives the same bits until it is built again.
    _compiled = None

COMPILED = _compiled is not None
COMPILED_MODULE: Any = _compiled
"""For `rules.py` and `wire/packing.py`, which choose between its loops and numpy's as this module does for its own."""


def axpy(w: F32, g: F32, a: float) -> None:
    """w += g * a in place, elementwise, two roundings an element; w and g of shape (n,)."""
    if _compiled is None:
        axpy_numpy(w, g, a)
    else:
        cast(Any, _compiled).axpy(w, g, a)


def finite(g: F32) -> bool:
    """Whether no element of g (n,) is inf or nan."""
    return finite_numpy(g) if _compiled is None else bool(cast(Any, _compiled).finite(g))


def largest(g: F32) -> float:
    """The largest magnitude of g (n,), inf if any element is inf or nan."""
    return largest_numpy(g) if _compiled is None else float(cast(Any, _compiled).largest(g))


def add_below(w: F32, g: F32, a: float, limit: float) -> float:
    """As `axpy`, but stops before the first block of `LOOK` elements of which one reaches `limit`, or is inf or nan.

    Returns the largest magnitude that it has seen: all is added if that is below `limit`.
    """
    if _compiled is None:
        return add_below_numpy(w, g, a, limit)
    return float(cast(Any, _compiled).add_below(w, g, a, limit))
