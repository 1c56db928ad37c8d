"""The moving average of the centre (`evaluation.ema`): exact with one worker, and for every strategy or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.problems import JobError
from asgd.spec.status import Status
from tests.checks.crossings import STRATEGIES, Cell, Squares, spec
from tests.checks.virtual import CONSTANT, Problem, job

DECAY = 0.9


class Told(Squares):
    def evaluate(self, weights: F32) -> dict[str, float]:
        return {"loss": self.loss(weights, slice(None)), "first": float(weights[0])}


class Curve(Problem):
    def evaluate(self, weights: F32) -> dict[str, float]:
        return {"first": float(weights[0])}


def bowl(size: int = 5) -> Curve:
    """Its gradient is the weights themselves."""
    return Curve(np.linspace(1, 2, size), lambda weights, worker: weights.copy())


@pytest.mark.parametrize("shards", [1, 3])
def test_with_one_worker_it_is_what_averaged_model_of_pytorch_computes(shards: int) -> None:
    fields: dict[str, Any] = {"stopAfter": {"updates": 50}, "optimizer": {"learningRate": 0.1}}
    done = Simulation(
        job(
            **fields, workers={"replicas": 1}, parameterServer={"shards": shards},
            evaluation={"ema": DECAY, "everySeconds": 0},
        ),
        bowl(), CONSTANT,
    )  # fmt: skip
    updates = done.run().updates
    plain = torch.nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(1, 2, 5))
    average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(updates):
        plain.weight.grad = plain.weight.detach().clone()
        optimizer.step()
        average.update_parameters(plain)
    found, expected = done.cluster.average(), average.module.weight.detach().numpy()[0]
    assert np.allclose(done.answer(), plain.weight.detach().numpy()[0], rtol=1e-6)
    assert np.allclose(found, expected, rtol=2e-6)
    assert not np.allclose(found, done.answer(), rtol=1e-2), "an average lags behind"


def test_its_metrics_stand_beside_those_of_the_centre_and_it_can_be_the_best_model() -> None:
    seen: list[Status] = []
    rules = {"best": {"metric": "ema.first", "mode": "min"}}
    done = Simulation(
        job(
            stopAfter={"updates": 40}, workers={"replicas": 1}, optimizer={"learningRate": 0.1}, checkpoint=rules,
            evaluation={"ema": DECAY, "everyUpdates": 10},
        ),
        bowl(), CONSTANT, seen.append,
    )  # fmt: skip
    status = done.run()
    assert set(status.metrics) == {"first", "ema.first"}
    first, averaged = status.metrics["first"], status.metrics["ema.first"]
    assert first is not None and averaged is not None and first < averaged, "it lags behind a falling weight"
    assert done.best is not None and done.best[1][0] == pytest.approx(status.best.value if status.best else 0)
    assert np.array_equal(done.best[1], done.cluster.average())


def test_a_server_that_comes_back_goes_on_with_the_average_of_its_checkpoint() -> None:
    def run(crash: bool) -> F32:
        fields = {
            "stopAfter": {"updates": 200}, "workers": {"replicas": 1}, "optimizer": {"learningRate": 0.01},
            "evaluation": {"ema": 0.99, "everySeconds": 0}, "checkpoint": {"everySeconds": 5},
        }  # fmt: skip
        one = Simulation(job(**fields), bowl(), CONSTANT, store=MemoryStore())
        while not one.over:
            one.advance()
            if crash and one.clock.now > 42.0:
                crash = False
                one.cluster.servers[0].crash()
                one.cluster.servers[0].start()
                assert one.cluster.servers[0].shard.average.updates > 10
        assert one.cluster.servers[0].shard.average.updates >= 190
        return one.cluster.average()

    assert np.allclose(run(crash=False), run(crash=True), rtol=0.05)


def test_a_job_that_is_resumed_with_an_average_it_had_not_begins_one_from_its_weights() -> None:
    store = MemoryStore()
    fields = {
        "workers": {"replicas": 1},
        "optimizer": {"learningRate": 0.01},
        "checkpoint": {"everySeconds": 5},
    }
    first = Simulation(job(**fields, stopAfter={"updates": 50}), bowl(), CONSTANT, store=store)
    while not first.over:
        first.advance()
    second = Simulation(
        job(**fields, stopAfter={"updates": 90}, evaluation={"ema": 0.5}), bowl(), CONSTANT, clock=first.clock,
        store=store,
    )  # fmt: skip
    assert np.array_equal(second.cluster.average(), second.answer()), "before its first update: the weights"
    while not second.over:
        second.advance()
    assert np.allclose(second.cluster.average(), second.answer(), rtol=0.05)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_every_strategy_the_average_trains_as_the_centre_does_or_is_refused(strategy: str) -> None:
    fields = spec(Cell(strategy)) | {
        "evaluation": {"ema": DECAY, "everySeconds": 0},
        "stopAfter": {"epochs": 12},
    }
    try:
        the_job = job(**fields)
    except JobError as refused:
        assert "spec.evaluation.ema: 0.9 needs a centre that moves with each update" in str(refused)
        assert strategy.split(",")[0] in ("lsgd", "neuroevolution")
        return
    work = Told()
    plain = Simulation(job(**fields | {"evaluation": {"everySeconds": 0}}), work, CONSTANT)
    plain.run()
    averaged = Simulation(the_job, Told(), CONSTANT)
    status = averaged.run()
    assert np.array_equal(averaged.answer(), plain.answer()), "the training is the same"
    value = status.metrics["ema.loss"]
    start = work.loss(work.initial(), slice(None))
    assert value is not None and np.isfinite(value) and value < 0.7 * start
