"""Evaluations by updates and epochs in virtual time: at which counts, for strategies with and without rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.spec.status import Status
from tests.checks.crossings import Squares
from tests.checks.virtual import CONSTANT, Problem, job


class Seen(Problem):
    """Each evaluation tells the first weight: what gradients of -1 at rate 1 have brought it to."""

    def evaluate(self, weights: F32) -> dict[str, float]:
        return {"first": float(weights[0])}


def evaluations(work: Any, **spec: Any) -> list[tuple[int, dict[str, float | None]]]:
    """(updates, metrics) of all, the last one at the end."""
    found: list[tuple[int, dict[str, float | None]]] = []

    def observe(status: Status) -> None:
        if status.metrics and (not found or found[-1][0] != status.metrics_at_updates):
            found.append((status.metrics_at_updates, status.metrics))

    Simulation(job(**spec), work, CONSTANT, observe).run()
    return found


def test_the_weights_after_exactly_so_many_updates_are_evaluated() -> None:
    climb = Seen(np.zeros(4), lambda weights, worker: np.full(4, -1.0, np.float32))
    found = evaluations(
        climb, evaluation={"everyUpdates": 5}, stopAfter={"updates": 23},
        optimizer={"learningRate": 1}, workers={"replicas": 3},
    )  # fmt: skip
    assert [at for at, _ in found[:-1]] == [5, 10, 15, 20] and found[-1][0] >= 23
    assert all(metrics["first"] == at for at, metrics in found)


class Told(Squares):
    def evaluate(self, weights: F32) -> dict[str, float]:
        return {"loss": self.loss(weights, slice(None))}


@pytest.mark.parametrize("algorithm", ["asgd", "sync", "local-sgd", "lsgd"])
def test_each_epoch_is_evaluated_once_whatever_the_strategy(algorithm: str) -> None:
    found = evaluations(
        Told(), algorithm={"name": algorithm}, evaluation={"everyEpochs": 1}, stopAfter={"epochs": 6},
        batchSize=8, workers={"replicas": 2}, optimizer={"learningRate": 0.05},
    )  # fmt: skip
    assert 5 <= len(found) <= 7, "of all six epochs, the last one with the final evaluation"


def test_updates_and_seconds_together_give_evaluations_of_both() -> None:
    climb = Seen(np.zeros(4), lambda weights, worker: np.full(4, -1.0, np.float32))
    found = evaluations(
        climb, evaluation={"everyUpdates": 10, "everySeconds": 4}, stopAfter={"updates": 21},
        optimizer={"learningRate": 1}, workers={"replicas": 1},
    )  # fmt: skip
    assert {10, 20} <= {at for at, _ in found} and len(found) > 5


def test_the_simulator_keeps_the_weights_of_the_best_evaluation() -> None:
    climb = Seen(np.zeros(4), lambda weights, worker: np.full(4, -1.0, np.float32))
    spec = job(
        evaluation={"everyUpdates": 5}, stopAfter={"updates": 23}, optimizer={"learningRate": 1},
        workers={"replicas": 1}, checkpoint={"best": {"metric": "first", "mode": "min"}},
    )  # fmt: skip
    simulation = Simulation(spec, climb, CONSTANT)
    best = simulation.run().best
    assert best is not None and (best.value, best.updates) == (5.0, 5)
    assert simulation.best is not None and simulation.best[1].tolist() == [5.0] * 4


def test_a_metric_that_evaluate_never_gives_is_told_once_with_those_it_gives() -> None:
    climb = Seen(np.zeros(4), lambda weights, worker: np.full(4, -1.0, np.float32))
    status = Simulation(
        job(
            evaluation={"everyUpdates": 5}, stopAfter={"updates": 23}, workers={"replicas": 1},
            checkpoint={"best": {"metric": "f1", "mode": "max"}},
        ),
        climb, CONSTANT,
    ).run()  # fmt: skip
    said = "spec.checkpoint.best.metric: f1 is nothing that `evaluate` gives; it gives first"
    assert [notice.text for notice in status.notices] == [said] and status.best is None


def test_a_simulated_job_stops_when_its_evaluations_get_no_better() -> None:
    climb = Seen(np.zeros(4), lambda weights, worker: np.full(4, -1.0, np.float32))
    patience = {"metric": "first", "mode": "min", "evaluations": 3}
    status = Simulation(
        job(
            evaluation={"everyUpdates": 5}, stopAfter={"updates": 1000, "patience": patience},
            optimizer={"learningRate": 1}, workers={"replicas": 1},
        ),
        climb, CONSTANT,
    ).run()  # fmt: skip
    assert status.stop_reason == "patience" and 20 <= status.updates <= 21, "one push may be on its way"
    assert status.stop_detail == "first has not improved on 5 of update 5 for 3 evaluations"
