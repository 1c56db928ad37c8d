"""One push of a great size, and a worker that sends nothing else, in each strategy: neither ruins the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms import attacks
from asgd.algorithms.registry import names
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.spec.status import Status
from asgd.spec.types import Byzantine
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import Problem, job, simulation
from tests.effort import first

LIAR, WORKERS = 1, 6
WORLD = World(compute=ComputeTime("constant", 1.0), attacks=(Byzantine("nan", (LIAR,)),))
RHYTHM = {
    **dict.fromkeys(
        ("easgd", "eamsgd", "local-sgd", "diloco", "async-diloco", "elastic", "entropy", "parle"), 2
    ),
    "lsgd": 2,
    "neuroevolution": 2,
    "streaming-diloco": 8,
}
OWN: dict[str, dict[str, Any]] = {"eamsgd": {"optimizer": {"learningRate": 0.02, "momentum": 0.5}}}


def problem() -> Problem:
    """A bowl; each worker sees its own noise."""
    noise = np.random.Generator(np.random.PCG64(7))

    def slope(weights: F32, worker: int) -> F32:
        return (weights - 1 + 0.1 * noise.standard_normal(weights.size)).astype(np.float32)

    return Problem(np.zeros(40), slope, lambda weights: float(np.square(weights - 1).mean()))


def trained(name: str, **spec: Any) -> Any:
    algorithm = {"name": name} | ({"period": RHYTHM[name]} if name in RHYTHM else {})
    given = {
        "algorithm": algorithm,
        "optimizer": {"learningRate": 0.02},
        "workers": {"replicas": WORKERS},
        "stopAfter": {"samples": 800},
        "outliers": {"after": 4},
        "parameterServer": {"shards": 2},
    }
    run = simulation(job(**(given | OWN.get(name, {}) | spec)), problem(), WORLD)
    return run, run.run()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The liar's tenth push is 1e30 times what it should be; the others are honest."""
    sent: list[int] = []

    def lie(attack: attacks.Attack, vector: F32) -> F32:
        sent.append(1)
        return vector * np.float32(1e30) if len(sent) == 10 else vector

    monkeypatch.setitem(attacks.KINDS, "nan", lie)
    return sent


@pytest.mark.parametrize("name", names())
def test_one_push_of_1e30_is_refused_counted_and_named_and_training_goes_on(
    name: str, once: list[int]
) -> None:
    run, status = trained(name)
    assert len(once) >= 10, "it has never lied"
    assert np.abs(run.answer()).max() < 10
    assert status.stop_reason == "samples"
    assert status.refused.get("outlier", 0) >= 1
    assert status.suspects == [LIAR]
    assert any("outliers.factor" in notice.text for notice in status.notices)


@pytest.mark.parametrize("name", first(names(), 6))
def test_a_worker_that_sends_nothing_else_ends_no_job(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def lie(attack: attacks.Attack, vector: F32) -> F32:
        sent.append(1)
        return vector * np.float32(1e30) if len(sent) > 5 else vector

    monkeypatch.setitem(attacks.KINDS, "nan", lie)
    run, status = trained(name)
    assert np.abs(run.answer()).max() < 10
    assert (status.stop_reason, status.suspects) == ("samples", [LIAR])


@pytest.mark.parametrize("element", [0, -1], ids=["on shard 0", "on another shard"])
def test_one_refused_push_is_trouble_for_five_minutes_and_counted_for_ever(
    element: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def lie(attack: attacks.Attack, vector: F32) -> F32:
        sent.append(1)
        if len(sent) == 10:
            vector[element] = 1e30
        return vector

    monkeypatch.setitem(attacks.KINDS, "nan", lie)
    made = job(
        algorithm={"name": "asgd"}, optimizer={"learningRate": 0.02}, workers={"replicas": WORKERS},
        stopAfter={"samples": 2400}, outliers={"after": 4}, parameterServer={"shards": 2},
    )  # fmt: skip
    seen: list[Status] = []
    Simulation(made, problem(), WORLD, seen.append).run()
    troubled = [status.seconds for status in seen if status.refused_lately == [LIAR]]
    assert 8 < troubled[0] < 12 and 300 < troubled[-1] < 312
    after = [status for status in seen if status.seconds > 312]
    assert after and all(status.refused_lately == [] for status in after)
    assert all((status.suspects, status.refused["outlier"]) == ([LIAR], 1) for status in after)
