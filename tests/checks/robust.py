"""Ten workers on digits of which four lie: one run, and what became of it.

The problem is DIGITS as algorithms.md section 1 has it, in numpy: without torch a run of 600 rounds takes a third of
the time. Strategies, shards, messages and liars are those of every simulation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from asgd.algorithms.base import WorkerStrategy
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.spec.types import Byzantine
from asgd.worker.oracle import SAMPLES
from asgd.worker.reading.leased import LeasedBatch, NextLease
from asgd.worker.shared import Work
from asgd.world.models import ComputeTime, World
from tests.checks.problems import Digits
from tests.checks.virtual import job

BYZANTINE = (6, 7, 8, 9)
LATEST = {"sign-flip": 20, "scaled": 30, "label-flip": 30, "zero": 45, "delayed": 50, "variance": 200}
"""The six attacks of the paper's table (`scaled` is its safeguard attack), and the round by which all are caught."""


class DigitsWork:
    """`Digits` as simulated workers compute it: each draws its batches with random numbers of its own."""

    layout, tensors, dataset, guarantee = "digits", b"", None, "batches drawn with replacement"

    def __init__(self, seed: int) -> None:
        self.problem, self.seed = Digits(seed), seed
        self.size = self.problem.start().size

    def initial(self) -> F32:
        return self.problem.start()

    def open(self, worker: int, lease: NextLease) -> Drawn:
        return Drawn(self.problem, np.random.default_rng([0xBA7C, self.seed, worker]))

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        return self.problem.slope(weights, out, *item.batch)

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> None:
        return

    def judge(self, worker: int, weights: F32) -> float:
        raise AssertionError("these rules compare no weights")

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {"accuracy": self.problem.accuracy(weights)}

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        """Zeno's oracle: on `SAMPLES` samples of its own that `version` chooses."""
        images, labels = self.problem.draw(np.random.default_rng([0x2E20, self.seed, version]))
        out = np.empty(self.size, np.float32)
        return [self.problem.slope(point, out, images[:SAMPLES], labels[:SAMPLES]) for point in points]


class Drawn:
    """One worker's batches, without end."""

    def __init__(self, problem: Digits, random: np.random.Generator) -> None:
        self._problem, self._random = problem, random

    def next(self) -> LeasedBatch:
        return LeasedBatch(self._problem.draw(self._random), self._problem.batch, ())

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


def trained(
    name: str,
    attack: str,
    seed: int,
    rounds: int = 600,
    work: Work | None = None,
    rate: float = 0.1,
    **fields: Any,
) -> tuple[float, dict[int, int]]:
    """(accuracy on digits, {worker: round in which it was first rejected}) of 10 workers, the last 4 of them lying.

    `work` is `DigitsWork(seed)` if not given; `rate`: its learning rate.
    """
    world = World(
        compute=ComputeTime("constant", 1.0), attacks=(Byzantine(attack, BYZANTINE),) if attack else ()
    )
    spec = job(
        seed=seed, algorithm={"name": name, **fields}, optimizer={"learningRate": rate},
        stopAfter={"updates": rounds * 10}, workers={"replicas": 10},
        evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, work or DigitsWork(seed), world)
    caught: dict[int, int] = {}
    facts = run.cluster.servers[0].shard.state.facts
    while run.advance():
        for worker in facts.get("rejected", []):
            caught.setdefault(worker, facts["rounds"])
    return run.work.evaluate(run.answer())["accuracy"], caught
