"""The problems of algorithms.md section 1, small enough to be checked in closed form.

Each has a flat float32 start vector, and a gradient (with its loss) that a worker draws with its own random numbers.
All in numpy: a check of the update path needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asgd.kernel import F32

Labels = npt.NDArray[np.int64]


class Problem(Protocol):
    """What a virtual worker trains. `batch`: samples that one gradient stands for."""

    batch: int

    def start(self) -> F32:
        """The initial weights, (n,)."""

    def gradient(self, w: F32, out: F32, rng: np.random.Generator) -> float:
        """Writes a minibatch gradient at `w` (n,) into `out` (n,); returns the loss."""


@dataclass(frozen=True)
class Quadratic:
    """Q1: h/2 x^2 in each of `n` independent coordinates, with gradient noise of standard deviation sigma."""

    n: int = 1
    h: float = 1.0
    sigma: float = 0.0
    x0: float = 1.0
    batch: int = 1

    def start(self) -> F32:
        return np.full(self.n, self.x0, np.float32)

    def gradient(self, w: F32, out: F32, rng: np.random.Generator) -> float:
        np.multiply(w, np.float32(self.h), out=out)
        if self.sigma:
            out += np.float32(self.sigma) * rng.standard_normal(self.n, np.float32)
        return float(self.h / 2 * np.mean(np.square(w, dtype=np.float64)))


@dataclass(frozen=True)
class Quartic:
    """x^4 / 4: flat at its minimum, curved without bound far from it (check A6)."""

    x0: float = 2.0
    batch: int = 1

    def start(self) -> F32:
        return np.full(1, self.x0, np.float32)

    def gradient(self, w: F32, out: F32, rng: np.random.Generator) -> float:
        np.power(w, 3, out=out)
        return float(w[0]) ** 4 / 4


@dataclass(frozen=True)
class DoubleWell:
    """DW: (x^2 - 1)^2 + 0.3 x, global minimum at -1.03558, another at +0.96015."""

    x0: float = 0.0
    batch: int = 1

    def start(self) -> F32:
        return np.full(1, self.x0, np.float32)

    def gradient(self, w: F32, out: F32, rng: np.random.Generator) -> float:
        x = w[0]
        out[0] = 4 * x * (x * x - 1) + np.float32(0.3)
        return float((x * x - 1) ** 2 + 0.3 * x)


@cache
def _digits() -> tuple[F32, Labels, F32, Labels]:
    from asgd.examples.parts import packaged_table, stratified_split

    table = packaged_table("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
    train, test = stratified_split(table[:, 64], 360)
    images, labels = table[:, :64] / np.float32(16), table[:, 64].astype(np.int64)
    return images[train], labels[train], images[test], labels[test]


@dataclass(frozen=True)
class Digits:
    """DIGITS: a 64-64-10 ReLU network (4,810 parameters), cross-entropy, batches of 32 drawn with replacement."""

    seed: int = 0
    batch: int = 32
    shapes: tuple[tuple[int, ...], ...] = field(default=((64, 64), (64,), (64, 10), (10,)))

    def start(self) -> F32:
        rng = np.random.default_rng([0xD161, self.seed])
        first = rng.standard_normal((64, 64)) * np.sqrt(2 / 64)
        second = rng.standard_normal((64, 10)) * np.sqrt(2 / 64)
        parts = (first.ravel(), np.zeros(64), second.ravel(), np.zeros(10))
        return np.concatenate(parts).astype(np.float32)

    def _views(self, flat: F32) -> list[F32]:
        views, start = [], 0
        for shape in self.shapes:
            stop = start + prod(shape)
            views.append(flat[start:stop].reshape(shape))
            start = stop
        return views

    def gradient(self, w: F32, out: F32, rng: np.random.Generator) -> float:
        return self.slope(w, out, *self.draw(rng))

    def draw(self, rng: np.random.Generator) -> tuple[F32, Labels]:
        """One batch: (batch, 64) images and (batch,) labels."""
        images, labels, _, _ = _digits()
        rows = rng.integers(0, len(images), self.batch)
        return images[rows], labels[rows]

    def slope(self, w: F32, out: F32, x: F32, y: Labels) -> float:
        """Writes the gradient on that batch into `out`; returns the loss."""
        w1, b1, w2, b2 = self._views(w)
        g1, c1, g2, c2 = self._views(out)
        hidden = x @ w1 + b1
        np.maximum(hidden, 0, out=hidden)
        p = hidden @ w2 + b2
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        index = np.arange(len(y))
        loss = -float(np.log(np.maximum(p[index, y], 1e-30)).mean())
        p[index, y] -= 1
        p /= len(y)
        np.matmul(hidden.T, p, out=g2)
        p.sum(axis=0, out=c2)
        back = p @ w2.T
        back[hidden <= 0] = 0
        np.matmul(x.T, back, out=g1)
        back.sum(axis=0, out=c1)
        return loss

    def accuracy(self, w: F32) -> float:
        """Of the weights on the 360 held-out images."""
        _, _, images, labels = _digits()
        w1, b1, w2, b2 = self._views(w)
        answers = (np.maximum(images @ w1 + b1, 0) @ w2 + b2).argmax(axis=1)
        return float((answers == labels).mean())
