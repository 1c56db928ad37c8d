"""Each optimizer in whole jobs in virtual time: one worker goes PyTorch's way, cut into shards or resumed.

The gradient is a function of the weights alone, so a run that goes back to a checkpoint must come to the same weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.simulation import Simulation
from asgd.drivers.virtual.store import MemoryStore
from asgd.kernel import F32
from asgd.spec.optimizers import FIELDS
from tests.checks.optimizers import KINDS, reference, spec_of
from tests.checks.virtual import CONSTANT, Problem, job

STEPS, SIZE = 200, 101
FEW = (
    "sgd with decay", "nesterov with decay", "adagrad with decay", "adam", "adamw with decay", "lion with decay",
    "rmsprop with decay", "rmsprop with all", "adadelta with decay",
)  # fmt: skip
"""Of each rule the one that uses most of it."""
_RANDOM = np.random.default_rng(14)
SCALES = np.geomspace(0.1, 2.0, SIZE).astype(np.float32)
START = _RANDOM.standard_normal(SIZE).astype(np.float32)
AIMS = START + np.where(_RANDOM.random(SIZE) < 0.5, np.float32(20), np.float32(-20))
"""So far away that no coordinate comes to rest: there a normalised step is nothing but the sign of a rounding."""


def slope(weights: Any, worker: int = 0) -> Any:
    """Of a bowl, and of what makes its steps differ from each other."""
    rest = weights - AIMS
    return SCALES * rest + np.float32(0.1) * np.cos(np.float32(2) * rest)


def fields(kind: str, **more: Any) -> dict[str, Any]:
    rate = {"learningRate": spec_of(kind).learning_rate}
    return {
        "optimizer": rate | KINDS[kind], "workers": {"replicas": 1}, "stopAfter": {"updates": STEPS},
        "evaluation": {"everySeconds": 0},
    } | more  # fmt: skip


def trained(kind: str, **more: Any) -> F32:
    """The answer of a whole job of one worker."""
    done = Simulation(job(**fields(kind, **more)), Problem(START, slope), CONSTANT)
    done.run()
    return done.answer()


@cache
def wanted(kind: str) -> Any:
    """Where the reference is after all steps."""
    other = reference(spec_of(kind), START)
    for _ in range(STEPS):
        other.step(slope(np.asarray(other.theta, np.float32)))
    return other.theta


def test_every_optimizer_is_among_them() -> None:
    assert {spec_of(kind).name for kind in FEW} == set(FIELDS)


def close(found: F32, kind: str) -> None:
    assert np.abs(found - START).max() > 0.05
    np.testing.assert_allclose(found, wanted(kind), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", FEW)
def test_one_worker_takes_200_steps_as_pytorchs_optimizer_does_with_1_and_3_shards(kind: str) -> None:
    one, three = (trained(kind, parameterServer={"shards": shards}) for shards in (1, 3))
    close(one, kind)
    assert np.array_equal(one.view(np.uint32), three.view(np.uint32))


@pytest.mark.parametrize("kind", FEW)
def test_in_delta_mode_the_workers_own_optimizer_takes_them(kind: str) -> None:
    """Four steps a push: the server adds what the worker moved by."""
    rare = {"fetchEvery": 4, "pushEvery": 4}
    close(
        trained(kind, exchange=rare, stopAfter={"updates": STEPS // 4}, parameterServer={"shards": 3}), kind
    )


@pytest.mark.parametrize("kind", FEW)
def test_a_round_of_one_worker_is_one_of_them(kind: str) -> None:
    close(trained(kind, algorithm={"name": "sync"}, parameterServer={"shards": 3}), kind)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", FEW)
def test_a_job_that_others_resume_comes_to_the_same_bits(kind: str, shards: int) -> None:
    made = job(**fields(kind, checkpoint={"everySeconds": 7}, parameterServer={"shards": shards}))
    store, clock = MemoryStore(), Clock()
    half = Simulation(made, Problem(START, slope), CONSTANT, clock=clock, store=store)
    while clock.now < STEPS / 2:
        half.advance()
    other = Simulation(made, Problem(START, slope), CONSTANT, clock=Clock(clock.now), store=store)
    other.run()
    plain = trained(kind, parameterServer={"shards": shards})
    assert np.array_equal(other.answer().view(np.uint32), plain.view(np.uint32))
