"""A mean over time whose first values count as much as they should: an exponential moving average, bias-corrected.

A plain one that begins at its first value keeps that value for long: after 20 pushes with 0.95 a third of what is shown
as the loss is still that of the untrained model. Pure.
"""

from __future__ import annotations

import math

from msgspec import Struct


class Mean(Struct):
    """The weighted mean of what was added; part of what a checkpoint keeps."""

    total: float = 0.0
    weight: float = 0.0
    """Of all values in `total`; goes to 1."""

    def add(self, value: float | None, keep: float) -> None:
        """One more value, in which all before keep `keep` (0 to 1) of their weight.

        One that is no number would stay in it for ever, and is left out.
        """
        if value is not None and math.isfinite(value):
            self.total = keep * self.total + (1 - keep) * value
            self.weight = keep * self.weight + (1 - keep)

    @property
    def value(self) -> float | None:
        """None before the first one."""
        return self.total / self.weight if self.weight else None
