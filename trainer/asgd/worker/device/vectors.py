"""A worker's vectors as its core sees them (`wishes.Vectors`): on its device with staging memory, or numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from asgd import kernel
from asgd.kernel import F32
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.flat import Flat


def finite_on_device(vector: Tensor) -> bool:
    """Whether it holds neither inf nor nan, in one pass. A maximum can't overflow, and nan goes through."""
    return math.isfinite(float(torch.linalg.vector_norm(vector, math.inf)))


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

    def finite(self, vector: Tensor) -> bool:
        """Whether it holds neither inf nor nan; one pass, without another vector of its size."""
        if vector.device.type == "cpu":
            return kernel.finite(vector.detach().numpy())
        return finite_on_device(vector)

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


class ArrayVectors:
    """A worker's vectors as numpy arrays; what it pushes is told to `overheard`."""

    def __init__(self, size: int, overheard: Callable[[F32], None]) -> None:
        self.size = size
        self.weights, self.gradient, self.pulled = (np.zeros(size, np.float32) for _ in range(3))
        self._overheard = overheard

    def gather(self) -> F32:
        return self.gradient

    def norm(self, vector: F32) -> float:
        # NB: a run's bits are those of torch's sum.
        return float(torch.from_numpy(vector).norm())

    def finite(self, vector: F32) -> bool:
        return kernel.finite(vector)

    def leaving(self, vector: F32) -> F32:
        kept = np.array(vector)
        self._overheard(kept)
        return kept

    def landed(self) -> F32:
        return self.pulled
