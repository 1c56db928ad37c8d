"""Each optimizer in whole jobs in virtual time: one worker goes PyTorch's way, cut into shards or resumed.

The gradient is a function of the weights alone, so a run that goes back to a checkpoint must come to the same weights.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.optimizers import FIELDS
from asgd.spec.types import Optimizer
from tests.checks.optimizers import KINDS, LAYERWISE, places, reference, spec_of, tensors
from tests.checks.virtual import CONSTANT, Problem, job

STEPS, SIZE = 200, 101
FEW = (
    "sgd with decay", "nesterov with decay", "adagrad with decay", "adam", "adamw with decay", "lion with decay",
    "rmsprop with decay", "rmsprop with all", "adadelta with decay",
)  # fmt: skip
"""Of each rule that servers run the one that uses most of it."""
IN_WORKERS = (*FEW, "lamb", "lamb with decay", "muon", "muon with all")
_RANDOM = np.random.default_rng(14)
SCALES = np.geomspace(0.1, 2.0, SIZE).astype(np.float32)
START = _RANDOM.standard_normal(SIZE).astype(np.float32)
AIMS = START + np.where(_RANDOM.random(SIZE) < 0.5, np.float32(20), np.float32(-20))
"""So far away that no coordinate comes to rest: there a normalised step is nothing but the sign of a rounding."""


def slope(weights: Any, worker: int = 0) -> Any:
    """Of a bowl, and of what makes its steps differ from each other."""
    rest = weights - AIMS
    return SCALES * rest + np.float32(0.1) * np.cos(np.float32(2) * rest)


class Shaped(Problem):
    """Its vector is several tensors."""

    tensors = json.dumps(tensors(SIZE)).encode()


def fields(kind: str, **more: Any) -> dict[str, Any]:
    rate = {"learningRate": spec_of(kind).learning_rate}
    return {
        "optimizer": rate | KINDS[kind], "workers": {"replicas": 1}, "stopAfter": {"updates": STEPS},
        "evaluation": {"everySeconds": 0},
    } | more  # fmt: skip


def trained(kind: str, **more: Any) -> F32:
    """The answer of a whole job of one worker."""
    done = Simulation(job(**fields(kind, **more)), Shaped(START, slope), CONSTANT)
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
    assert {spec_of(kind).name for kind in FEW} | set(LAYERWISE) == set(FIELDS)


def close(found: F32, kind: str) -> None:
    assert np.abs(found - START).max() > 0.05
    np.testing.assert_allclose(found, wanted(kind), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", FEW)
def test_one_worker_takes_200_steps_as_pytorchs_optimizer_does_with_1_and_3_shards(kind: str) -> None:
    one, three = (trained(kind, parameterServer={"shards": shards}) for shards in (1, 3))
    close(one, kind)
    assert np.array_equal(one.view(np.uint32), three.view(np.uint32))


@pytest.mark.parametrize("kind", IN_WORKERS)
def test_in_delta_mode_the_workers_own_optimizer_takes_them(kind: str) -> None:
    """Four steps a push: the server adds what the worker moved by. Shards cut some of the tensors."""
    more = {"exchange": {"fetchEvery": 4, "pushEvery": 4}, "stopAfter": {"updates": STEPS // 4}}
    one, three = (trained(kind, parameterServer={"shards": shards}, **more) for shards in (1, 3))
    close(three, kind)
    assert np.array_equal(one.view(np.uint32), three.view(np.uint32))


@pytest.mark.parametrize("kind", ["lamb with decay", "muon"])
def test_what_looks_at_tensors_trains_in_rounds_of_local_steps(kind: str) -> None:
    """Of one worker, whose mean is its own."""
    rounds = {"algorithm": {"name": "local-sgd", "period": 4}, "stopAfter": {"updates": STEPS // 4}}
    close(trained(kind, **rounds), kind)


@pytest.mark.parametrize("kind", ["lamb with decay", "muon"])
def test_what_looks_at_tensors_does_so_in_each_group(kind: str) -> None:
    """A vector of one rule for each tensor, with the figures of its group."""
    own, plain = {"weightDecay": 0.0, "betas": [0.7, 0.9]}, KINDS[kind]
    groups = [{"match": ["*.bias", "b.*"], "learningRate": "2x", **own}]
    found = trained(
        kind, optimizer={**plain, "groups": groups}, algorithm={"name": "local-sgd", "period": 4},
        stopAfter={"updates": STEPS // 4},
    )  # fmt: skip
    inside = {**plain, **own, "learningRate": 2 * plain["learningRate"]}
    parts = {}
    for (name, shape), (span, _) in zip(tensors(SIZE), places(SIZE), strict=True):
        spec = inside if name.endswith(".bias") or name.startswith("b.") else plain
        parts[name] = span, reference(msgspec.convert(spec, Optimizer), START[span], shape)
    wanted = START.copy()
    for _ in range(STEPS):
        gradient = slope(wanted)
        for span, other in parts.values():
            other.step(gradient[span])
            wanted[span] = other.theta
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


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
