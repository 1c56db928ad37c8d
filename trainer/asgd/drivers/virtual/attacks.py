"""Workers that lie, for study and tests: what they push in place of their gradient (`asgd simulate --attack`).

Attackers see what honest workers push, the newest gradient of each: `variance` hides within their spread (ALIE),
`inner` is their mean turned round. `label-flip` computes honestly on labels 9 - l; the others start from their own
gradient.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from asgd.errors import UserError
from asgd.kernel import F32

DELAY = 100
"""Rounds by which `delayed` is late."""


@dataclass(slots=True)
class Eavesdropper:
    """The newest honest vector of each worker."""

    heard: dict[int, F32] = field(default_factory=dict)

    def matrix(self) -> F32:
        """(honest, n), in order of worker."""
        return np.stack([self.heard[worker] for worker in sorted(self.heard)])


class Attack:
    """One worker's way of lying; `kind` as in `KINDS`."""

    def __init__(self, kind: str, worker: int, heard: Eavesdropper) -> None:
        self.kind, self.heard = kind, heard
        self._past: deque[F32] = deque(maxlen=DELAY)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([0xBAD, worker])))

    def spoil(self, vector: F32) -> F32:
        """What is pushed in place of `vector` (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(KINDS[self.kind](self, vector), np.float32)

    def delayed(self, vector: F32) -> F32:
        self._past.append(vector.copy())
        return self._past[0]

    def gaussian(self, vector: F32) -> F32:
        return self._random.standard_normal(vector.size, np.float32) * np.float32(200)

    def variance(self, vector: F32) -> F32:
        honest = self.heard.matrix() if self.heard.heard else vector[None]
        return np.asarray(honest.mean(axis=0) - np.float32(0.3) * honest.std(axis=0))

    def inner(self, vector: F32) -> F32:
        honest = self.heard.matrix() if self.heard.heard else vector[None]
        return np.asarray(honest.mean(axis=0) * np.float32(-2))


KINDS: dict[str, Callable[[Attack, F32], F32]] = {
    "sign-flip": lambda _, g: -g,
    "zero": lambda _, g: g * 0,
    "label-flip": lambda _, g: g,
    "delayed": Attack.delayed,
    "scaled": lambda _, g: g * np.float32(-0.4),
    "variance": Attack.variance,
    "inner": Attack.inner,
    "gaussian": Attack.gaussian,
    "nan": lambda _, g: g * np.float32("nan"),
}


def parse(text: str, workers: int) -> tuple[str, tuple[int, ...]]:
    """`KIND:INDEX,INDEX` of `--attack`. Raises UserError."""
    kind, _, rest = text.partition(":")
    indices = [part for part in rest.split(",") if part.isdecimal() and int(part) < workers]
    if kind not in KINDS or not rest or len(indices) != len(rest.split(",")):
        raise UserError(
            f"--attack: {text!r} must be KIND:INDEX,INDEX with indices below {workers}; kinds are {', '.join(KINDS)}"
        )
    return kind, tuple(int(index) for index in indices)
