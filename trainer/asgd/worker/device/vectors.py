"""A worker's vectors on its device, as its core sees them (`wishes.Vectors`), with staging memory beside them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from asgd.kernel import F32
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.flat import Flat


class FlatVectors:
    """`flat`'s vectors; what leaves passes through `push`, what comes lies in `pulled`.

    `keeps`: exchanges are under way while the next step computes, so what leaves is copied. Else, on the CPU,
    nothing is.
    """

    def __init__(self, flat: Flat, push: Staging, pulled: Staging, *, keeps: bool) -> None:
        self.flat, self.push, self.pulled, self.keeps = flat, push, pulled, keeps
        self.size = flat.size
        self.weights, self.gradient = flat.weights, flat.grads

    def gather(self) -> Tensor:
        """The gradient that was just computed, whole."""
        return self.flat.gather()

    def norm(self, vector: Tensor) -> float:
        """Its Euclidean length."""
        return float(vector.norm())

    def leaving(self, vector: Tensor) -> F32:
        """Its values in host memory, where the next step does not change them while they are on their way."""
        return self.push.copy(vector) if self.keeps else self.push.out(vector)

    def landed(self) -> Tensor:
        """What the newest pull brought, where the model is."""
        return self.pulled.on_device()

    @property
    def into(self) -> F32:
        """Where pulls go."""
        return np.asarray(self.pulled.host)
