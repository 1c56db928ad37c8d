"""A batch whose gradient is not finite is dropped once, by the worker's core, whatever the strategy.

Checked in virtual time over all strategies against a clean twin: only that one batch is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms.registry import names
from asgd.drivers.virtual.faults.work import Bowl
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.spec.status import Status
from asgd.worker.reading.leased import LeasedBatch
from tests.checks.virtual import job, simulation

MORE: dict[str, dict[str, Any]] = {
    "downpour": {"exchange": {"fetchEvery": 3, "pushEvery": 3}},
    "asgd": {"exchange": {"fetchEvery": 4, "pushEvery": 4}},
}
"""What makes a strategy keep more in its workers."""


class Spoiled(Bowl):
    """The batches of worker 1 numbered `bad` (from 1) have a gradient of nan; `loss`: their loss has, too."""

    def __init__(self, *bad: int, loss: bool = True, worker: int | None = 1) -> None:
        super().__init__()
        self.bad, self.spoils_loss, self.worker = set(bad), loss, worker
        self.batches = dict.fromkeys(range(5), 0)
        self.everything = False

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        out[:] = weights - np.float32(0.01 * item.batch)
        loss = float(weights @ weights) / 2
        self.batches[worker] += 1
        theirs = self.worker is None or worker == self.worker
        if not (theirs and (self.everything or self.batches[worker] in self.bad)):
            return loss
        out[3] = np.nan
        return float("nan") if self.spoils_loss else loss


def trained(work: Spoiled, name: str, **spec: Any) -> tuple[Status, float, Simulation]:
    """A job's last status, the loss of its answer, and the simulation."""
    done = prepared(work, name, **spec)
    status = done.run()
    answer = done.answer()
    assert np.isfinite(answer).all()
    return status, float(answer @ answer) / 2, done


def prepared(work: Spoiled, name: str, **spec: Any) -> Simulation:
    """A job of 3 workers that has not begun."""
    period = {"period": 8 if name == "streaming-diloco" else 4} if name in PERIODIC else {}
    whole = {
        "algorithm": {"name": name, **period},
        "optimizer": {"learningRate": 0.05, **({} if name in PLAIN else {"momentum": 0.5})},
        "workers": {"replicas": 5 if name == "krum" else 3},
        "batchSize": 4,
        "stopAfter": {"epochs": 8},
        "evaluation": {"everySeconds": 0},
        **spec,
    }
    return simulation(job(**whole), work)


PERIODIC = {
    "easgd", "eamsgd", "local-sgd", "diloco", "async-diloco", "streaming-diloco", "parle", "entropy", "lsgd",
    "neuroevolution",
}  # fmt: skip
PLAIN = {"downpour", "fasgd", "easgd"}


@pytest.mark.parametrize("name", names())
def test_of_one_batch_with_nan_nothing_stays_but_a_count(name: str) -> None:
    clean, clean_loss, _ = trained(Spoiled(), name, **MORE.get(name, {}))
    work = Spoiled(6)
    spoiled, loss, done = trained(work, name, **MORE.get(name, {}))
    assert spoiled.refused.get("nonfinite") == 1 + clean.refused.get("nonfinite", 0)
    assert spoiled.stop_reason == "epochs" and spoiled.epochs == clean.epochs
    assert loss == pytest.approx(clean_loss, abs=0.02)
    samples = {worker.index: worker.samples for worker in spoiled.workers}
    assert samples[1] >= 0.8 * samples[0]
    assert np.isfinite(done.workers[1].weights).all()


@pytest.mark.parametrize("name", ["asgd", "downpour", "local-sgd", "easgd", "parle", "elastic"])
@pytest.mark.parametrize("way", [{"exchange": {"ahead": 1}}, {"parameterServer": {"shards": 2}}])
def test_it_is_one_drop_also_over_several_shards_and_with_ahead_1(name: str, way: dict[str, Any]) -> None:
    spoiled, loss, _ = trained(Spoiled(6, loss=False), name, **way)
    assert spoiled.refused.get("nonfinite") == 1
    assert loss < 0.05


@pytest.mark.parametrize("name", names())
def test_a_job_in_which_nothing_is_finite_ends_as_diverged(name: str) -> None:
    work = Spoiled(worker=None)
    work.everything = True
    done, _, _ = trained(work, name)
    assert done.stop_reason == "diverged"


@pytest.mark.parametrize("name", names())
def test_a_worker_whose_every_batch_is_nan_is_named_and_the_others_finish_the_job(name: str) -> None:
    work = Spoiled()
    work.everything = True
    done, loss, _ = trained(work, name)
    assert done.stop_reason == "epochs" and loss < 0.05
    assert "worker 1: 3 batches in a row had a loss or gradient that is not finite" in [
        notice.text for notice in done.notices
    ]


class BadData(Spoiled):
    """Samples 8 to 11 of each epoch's order hold nan, whoever reads them."""

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        loss = super().gradient(worker, weights, item, out)
        if item.visits[0][1] == 8:
            out[:] = np.nan
        return loss


@pytest.mark.parametrize("name", ["asgd", "sync", "easgd", "local-sgd", "lsgd"])
def test_samples_that_hold_nan_are_tried_twice_and_then_left_out(name: str) -> None:
    done, loss, _ = trained(BadData(), name)
    assert done.stop_reason == "epochs" and done.epochs == 8.0
    assert done.refused["nonfinite"] == 16
    assert loss < 0.05


@pytest.mark.parametrize("name", names())
def test_a_worker_whose_own_weights_became_inf_begins_anew_from_the_centre(name: str) -> None:
    done = prepared(Spoiled(), name)
    ruined = False
    while done.advance():
        worker = done.workers[1]
        if not ruined and worker.core.steps >= 5:
            ruined = True
            worker.weights[2] = np.inf
            for vector in vars(worker.rule).values():
                if isinstance(vector, np.ndarray):
                    vector[2] = np.inf
    status = done.run()
    assert status.stop_reason == "epochs"
    assert np.isfinite(done.workers[1].weights).all() and np.isfinite(done.answer()).all()
    samples = {worker.index: worker.samples for worker in status.workers}
    assert samples[1] >= 0.5 * samples[0]
