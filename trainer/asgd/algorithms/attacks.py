"""Workers that lie, for study and tests: what they push in place of their gradient.

One module for `asgd run`, pods (`spec.chaos.byzantine`) and `asgd simulate` (that, or `--attack`). `variance` (ALIE)
hides within the spread of the honest gradients, `inner` is their mean turned round: in the simulator such a liar sees
the newest gradient of every honest worker, in a real run it takes its own last ones for theirs. `label-flip`
computes honestly on labels `largestLabel` - l; the others start from their own gradient. See algorithms.md section 7.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asgd.errors import UserError
from asgd.kernel import F32
from asgd.spec.types import Byzantine, JobSpec

OWN = 8
"""Gradients of its own from which a liar that hears nobody estimates the others'."""


@dataclass(slots=True)
class Eavesdropper:
    """The newest honest vector of each worker."""

    heard: dict[int, F32] = field(default_factory=dict)

    def matrix(self) -> F32:
        """(honest, n), in order of worker."""
        return np.stack([self.heard[worker] for worker in sorted(self.heard)])


class Attack:
    """One worker's way of lying, as `how` describes it. Without `heard` it knows its own gradients only."""

    def __init__(self, how: Byzantine, worker: int, heard: Eavesdropper | None = None) -> None:
        self.how, self.heard = how, heard or Eavesdropper()
        self._alone = heard is None
        self._lies = 0
        self._past: deque[F32] = deque(maxlen=how.delay)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([0xBAD, worker])))

    def study(self, batch: Any) -> Any:
        """The batch as this worker looks at it. Raises UserError when it should have labels and has none."""
        if self.how.attack != "label-flip":
            return batch
        if not isinstance(batch, (list, tuple)) or len(batch) != 2:
            raise UserError("spec.chaos.byzantine: label-flip needs batches of (inputs, labels)")
        return batch[0], self.how.largest_label - batch[1]

    def spoil(self, vector: F32) -> F32:
        """What is pushed in place of `vector` (n,)."""
        if self._alone and self.how.attack in ("variance", "inner"):
            self.heard.heard[self._lies % OWN] = vector.copy()
        self._lies += 1
        with np.errstate(invalid="ignore"):
            return np.asarray(KINDS[self.how.attack](self, vector), np.float32)

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


def attack_of(spec: JobSpec, worker: int, heard: Eavesdropper | None = None) -> Attack | None:
    """How `worker` lies according to `spec.chaos.byzantine`, the first entry that names it; None for the honest."""
    for how in spec.chaos.byzantine:
        if worker in how.workers:
            return Attack(how, worker, heard)
    return None


def parse(text: str, workers: int) -> Byzantine:
    """`KIND:INDEX,INDEX` of `--attack`. Raises UserError."""
    kind, _, rest = text.partition(":")
    indices = [part for part in rest.split(",") if part.isdecimal() and int(part) < workers]
    if kind not in KINDS or not rest or len(indices) != len(rest.split(",")):
        raise UserError(
            f"--attack: {text!r} must be KIND:INDEX,INDEX with indices below {workers}; kinds are {', '.join(KINDS)}"
        )
    return Byzantine(kind, tuple(int(index) for index in indices))
