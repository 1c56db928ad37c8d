"""What counts as a better evaluation. Pure."""

from __future__ import annotations

import math


def improves(mode: str, value: float | None, best: float | None, least: float = 0.0) -> bool:
    """Whether `value` is better than `best` by more than `least`; `mode`: max or min.

    What is not finite is never better, and anything else is better than none.
    """
    if value is None or not math.isfinite(value):
        return False
    if best is None:
        return True
    return (value - best if mode == "max" else best - value) > least
