"""The training cases at tiny size: a real job of ours to its own stop rule, and DDP on the same example."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asgd_bench.comparison import Ddp, Problem
from asgd_bench.forks import Forks
from asgd_bench.training import Rule, rate, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


def test_forked_workers_train_a_real_job_to_its_own_stop_rule(forks: Forks) -> None:
    sets = ["stopAfter.updates=40", "evaluation.everySeconds=0.1", "optimizer.learningRate=0.03"]
    done = train(forks, sets, {"example": "digits", "step_seconds": 0.001}, Rule(120.0, own=True), workers=2)
    assert done.status.phase == "finished"
    assert done.status.stop_reason == "updates"
    assert {worker.index for worker in done.status.workers} == {0, 1}
    assert done.status.metrics["accuracy"] is not None
    assert done.curve and all(at >= 0 and 0 <= metrics["accuracy"] <= 1 for at, metrics in done.curve)
    assert done.cpu_seconds > 0


def test_a_run_ends_when_its_target_is_reached(forks: Forks) -> None:
    sets = ["evaluation.everySeconds=0.1"]
    done = train(forks, sets, {"example": "digits"}, Rule(120.0, "accuracy", 0.05), workers=1)
    assert done.reached("accuracy", 0.05) is not None
    assert done.status.stop_reason == "", "the job itself would have gone on"
    assert done.seconds < 120


def test_ddp_trains_the_same_example_until_its_target() -> None:
    ddp = Ddp()
    problem = Problem("digits", "accuracy", 0.4, seconds=80.0, workers=2)
    try:
        outcomes = [ddp.train(problem, 0.1, seed) for seed in (0, 1)]
    finally:
        ddp.close()
    assert all(one.samples_per_second > 0 for one in outcomes)
    assert all(one.reached is not None and 0 < one.reached < 80 for one in outcomes)


def test_speed_is_counted_between_the_first_and_the_last_moving_status() -> None:
    assert rate([(0.0, 0), (1.0, 100), (2.0, 300), (3.0, 500)]) == 200.0
    assert rate([(0.0, 0), (1.0, 100)]) == 0.0
