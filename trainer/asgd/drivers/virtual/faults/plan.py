"""What goes wrong in a rehearsal, as a pure function of its seed: one that fails fails again, to the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asgd.world.models import ComputeTime, Mishap, World

CALM_SECONDS = 12.0
"""Faults come before this; what they have done must then mend itself."""
HANG_SECONDS = 4.0
"""How long a hang lasts until whoever started the worker kills it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Chances that a message is lost, comes twice or comes late by up to `late_seconds`, out of its order."""

    loss: float
    twice: float
    late: float
    late_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults of one seed. `world` holds those of workers."""

    seed: int
    world: World
    trouble: Trouble
    crashes: tuple[Mishap, ...]
    """Servers that are gone, and back after so many seconds with what the store holds."""
    replacements: tuple[Mishap, ...]
    """Servers that are replaced while they live."""
    refusals: tuple[Mishap, ...]
    """The checkpoint store refuses everything for so many seconds; `index` says nothing."""
    store_seconds: float
    own_loops: bool
    """Workers bring their own data, which ends; the job ends when all have told so."""


def make_plan(seed: int, workers: int, shards: int) -> Plan:
    """The plan of `seed` for a job with so many workers and shards."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([0xFA17, seed, workers, shards])))

    def mishaps(most: int, names: int, shortest: float, longest: float) -> tuple[Mishap, ...]:
        count = int(random.integers(0, most + 1))
        return tuple(
            Mishap(
                int(random.integers(names)), float(random.uniform(0.1, CALM_SECONDS)),
                float(random.uniform(shortest, longest)),
            )
            for _ in range(count)
        )  # fmt: skip

    hangs = mishaps(1, workers, HANG_SECONDS, HANG_SECONDS)
    killed = tuple(Mishap(hang.index, hang.at + hang.seconds, 0.5) for hang in hangs)
    world = World(
        compute=ComputeTime("lognormal", 0.2, 0.5),
        latency=float(random.uniform(0.0, 0.02)),
        deaths=mishaps(3, workers, 0.5, 5.0) + killed,
        pauses=mishaps(2, workers, 0.5, 15.0),
        hangs=hangs,
    )
    loss, twice, late = (float(random.uniform(0.0, 0.15)) if random.random() < 0.7 else 0.0 for _ in range(3))
    trouble = Trouble(loss, twice, late, float(random.choice([0.05, 0.5, 3.0])))
    return Plan(
        seed, world, trouble, mishaps(3, shards, 0.2, 4.0), mishaps(1, shards, 0.0, 0.0),
        mishaps(3, 1, 0.5, 6.0), float(random.choice([0.0, 0.05, 0.5])), bool(random.random() < 0.2),
    )  # fmt: skip
