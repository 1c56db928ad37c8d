"""Staleness-aware asynchronous SGD (Zhang et al. 2015): a gradient that is s versions old moves the centre by rate
/ s.

Gradients with s <= 1 are applied as in A-SGD, to the bit. See algorithms.md section 3.
"""

from __future__ import annotations

from asgd.algorithms.base import Push, Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker


class StalenessServer(GradientServer):
    def scale(self, push: Push) -> float:
        return 1.0 / max(1, push.staleness)


STRATEGY = Strategy("staleness-aware", StalenessServer, GradientWorker)
