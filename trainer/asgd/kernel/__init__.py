"""The update path's inner loops: the compiled ones, or numpy's with the same bits when no compiler was at hand.

Both do `t = g * a` and then `w += t`, rounded twice (algorithms.md 2e), so the result depends neither on the machine
nor on where a shard's or a chunk's border lies. Buffers are float32 and C-contiguous.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

LOOK = 1 << 11
"""Elements that `add_finite` looks at and adds at once: they stay in the first-level cache."""

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


def add_finite_numpy(w: F32, g: F32, a: float) -> int:
    """w += g * a in place up to the first block of `LOOK` elements with inf or nan; how many were added."""
    bad = np.flatnonzero(~np.isfinite(g))
    whole = g.size if not bad.size else int(bad[0]) // LOOK * LOOK
    axpy_numpy(w[:whole], g[:whole], a)
    return whole


try:
    from asgd.kernel import _kernel as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

COMPILED = _compiled is not None
COMPILED_MODULE: Any = _compiled
"""For `wire/packing.py`, which chooses between its loops and numpy's as this module does for its own."""


def axpy(w: F32, g: F32, a: float) -> None:
    """w += g * a in place, elementwise, two roundings an element; w and g of shape (n,)."""
    if _compiled is None:
        axpy_numpy(w, g, a)
    else:
        cast(Any, _compiled).axpy(w, g, a)


def finite(g: F32) -> bool:
    """Whether no element of g (n,) is inf or nan."""
    return finite_numpy(g) if _compiled is None else bool(cast(Any, _compiled).finite(g))


def add_finite(w: F32, g: F32, a: float) -> int:
    """As `axpy`, but stops before the first block of `LOOK` elements with inf or nan; how many were added."""
    if _compiled is None:
        return add_finite_numpy(w, g, a)
    return int(cast(Any, _compiled).add_finite(w, g, a))
