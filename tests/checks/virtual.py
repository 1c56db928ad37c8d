"""Problems with known answers, and a simulator at their service: the checks of algorithms.md run on these.

A `Problem` gives gradients without torch and without data, so a check is a matter of milliseconds; `digits` is the
real thing. Everything runs through `Simulation`: the strategies, shards, channels and messages are those of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from asgd.algorithms.base import WorkerStrategy
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.check import check_document
from asgd.spec.load import _job
from asgd.spec.types import Job
from asgd.worker.reading.leased import LeasedBatch, NextLease
from asgd.worker.shared import Batches, TorchWork
from asgd.world.models import ComputeTime, World

CONSTANT = World(compute=ComputeTime("constant", 1.0))
Gradient = Callable[[F32, int], F32]


def job(**spec: Any) -> Job:
    """A job as a user would write it, checked against the CRD; optional is only what differs from the defaults."""
    document = {
        "apiVersion": "asgd.dev/v1alpha1",
        "kind": "AsgdJob",
        "metadata": {"name": "check"},
        "spec": {"entrypoint": "asgd.examples.digits:task", "args": {"model": "mlp"}, **spec},
    }
    return _job(check_document(document), frozenset())


class Problem:
    """Starts at `start`; `slope(weights, worker)` is a worker's gradient, `loss` what it reports."""

    layout, tensors, dataset, guarantee = "problem", b"", None, "no data"

    def __init__(self, start: Any, slope: Gradient, loss: Callable[[F32], float] = lambda _: 0.0) -> None:
        self._start = np.array(start, np.float32)
        self.size, self._slope, self._loss = self._start.size, slope, loss

    def initial(self) -> F32:
        return self._start.copy()

    def open(self, worker: int, lease: NextLease) -> Batches:
        return _Endless()

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        out[:] = self._slope(weights, worker)
        return self._loss(weights)

    def equip(self, rule: WorkerStrategy, weights: F32, gradient: F32) -> None:
        return

    def judge(self, worker: int, weights: F32) -> float:
        return self._loss(weights)

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {}

    def losses(self, version: int, points: Iterable[F32]) -> list[float]:
        return [self._loss(point) for point in points]


class _Endless:
    def next(self) -> LeasedBatch:
        return LeasedBatch(None, 1, ())

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


def simulation(
    the_job: Job, work: Any, world: World = CONSTANT, store: MemoryStore | None = None
) -> Simulation:
    """A fresh simulation; with a `store`, servers may crash and come back."""
    return Simulation(the_job, work, world, store=store)


def train(work: Any, world: World = CONSTANT, **spec: Any) -> Simulation:
    """Runs a whole job and returns the simulation at its end."""
    done = simulation(job(**spec), work, world)
    done.run()
    return done


def digits(seed: int = 0, world: World | None = None, **spec: Any) -> tuple[float, float, Simulation]:
    """(final test accuracy, virtual seconds to 95 % or inf, simulation); a gradient takes 1 to 1.2 seconds."""
    world = world or World(compute=ComputeTime("uniform", 1.0, 1.2))
    the_job = job(seed=seed, evaluation={"everySeconds": 1}, **spec)
    reached: list[float] = []

    def observe(status: Any) -> None:
        if status.metrics.get("accuracy", 0.0) >= 0.95 and not reached:
            reached.append(status.seconds)

    done = Simulation(the_job, TorchWork(the_job.spec), world, observe)
    status = done.run()
    return status.metrics["accuracy"], reached[0] if reached else float("inf"), done
