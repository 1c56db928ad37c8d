"""Parameter groups under a schedule: one worker goes where `torch.optim` goes with the same `param_groups`."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import Problem, job, simulation

STEPS = 200
STEP_SECONDS = 1 / 16
WORLD = World(compute=ComputeTime("constant", STEP_SECONDS))
SHAPES = {
    "body.weight": (7, 5),
    "body.bias": (5,),
    "norm.weight": (5,),
    "head.weight": (5, 3),
    "head.bias": (3,),
}
SIZE = sum(math.prod(shape) for shape in SHAPES.values())
FINAL = 0.25

Settings = dict[str, Any]
KINDS: dict[str, tuple[Settings, list[Settings], type[torch.optim.Optimizer]]] = {
    "sgd": (
        {"learningRate": 0.0625, "momentum": 0.5, "weightDecay": 0.125},
        [{"weightDecay": 0, "momentum": 0}, {"learningRate": "2x", "nesterov": True}],
        torch.optim.SGD,
    ),
    "adam": (
        {"name": "adam", "learningRate": 0.01, "weightDecay": 0.1},
        [{"weightDecay": 0, "epsilon": 1e-5}, {"learningRate": 0.03, "betas": [0.8, 0.9]}],
        torch.optim.Adam,
    ),
    "adamw": (
        {"name": "adamw", "learningRate": 0.01, "weightDecay": 0.1},
        [{"weightDecay": 0}, {"learningRate": "2x", "betas": [0.8, 0.9]}],
        torch.optim.AdamW,
    ),
    "rmsprop": (
        {"name": "rmsprop", "learningRate": 0.01},
        [{"momentum": 0.5, "weightDecay": 0.1}, {"learningRate": "0.5x", "centered": True, "alpha": 0.9}],
        torch.optim.RMSprop,
    ),
    "adadelta": (
        {"name": "adadelta", "learningRate": 1.0},
        [{"weightDecay": 0.1}, {"learningRate": "0.5x", "rho": 0.8}],
        torch.optim.Adadelta,
    ),
    "adagrad": (
        {"name": "adagrad", "learningRate": 0.1, "weightDecay": 0.1},
        [{"weightDecay": 0}, {"learningRate": "0.3x", "epsilon": 1e-4}],
        torch.optim.Adagrad,
    ),
}
"""{kind: (the optimizer, what its two groups give, PyTorch's)}"""
MATCHES: list[Any] = [["*.bias", "norm.*"], "head.*"]
TORCHS = {
    "momentum": "momentum",
    "nesterov": "nesterov",
    "weightDecay": "weight_decay",
    "betas": "betas",
    "epsilon": "eps",
    "alpha": "alpha",
    "rho": "rho",
    "centered": "centered",
}
"""{our name: PyTorch's}"""


class Wavy(Problem):
    """A gradient that bends, and in which all elements take part."""

    tensors = str([[name, list(shape)] for name, shape in SHAPES.items()]).replace("'", '"').encode()

    def __init__(self) -> None:
        super().__init__(np.linspace(-1, 1, SIZE), lambda w, worker: slope(w))


def slope(w: F32) -> F32:
    found: F32 = (np.sin(3 * w) + w + np.float32(0.25) * np.roll(w, 1)).astype(np.float32)
    return found


def spec_of(kind: str, shards: int, **more: Any) -> Settings:
    optimizer, given, _ = KINDS[kind]
    schedule = {"name": "cosine", "unit": "samples", "length": STEPS, "final": FINAL}
    groups = [{"match": match, **own} for match, own in zip(MATCHES, given, strict=True)]
    return {
        "optimizer": {**optimizer, "schedule": schedule, "groups": groups}, "batchSize": 1,
        "stopAfter": {"updates": STEPS}, "workers": {"replicas": 1}, "parameterServer": {"shards": shards},
        "evaluation": {"everySeconds": 0}, **more,
    }  # fmt: skip


def theirs(kind: str) -> F32:
    optimizer, given, make = KINDS[kind]
    w, edges = Wavy().initial(), itertools.accumulate([0, *map(math.prod, SHAPES.values())])
    spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
    # NB: copies, for a step of torch.optim is in place.
    parameters = [torch.nn.Parameter(torch.from_numpy(w[span].copy())) for span in spans]
    places: list[list[int]] = [[1, 2, 4], [3], [0]]
    groups = []
    for numbers, own in zip(places, [*given, {}], strict=True):
        rate, base = own.get("learningRate", "1x"), optimizer["learningRate"]
        lr = base * float(rate.removesuffix("x")) if isinstance(rate, str) else rate
        held = {TORCHS[name]: value for name, value in (optimizer | own).items() if name in TORCHS}
        groups.append({"params": [parameters[number] for number in numbers], "lr": lr, **held})
    their = make(groups, lr=0.5)  # type: ignore[call-arg]
    cosine = lambda step: FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * min(step / STEPS, 1)))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(their, cosine)
    for _ in range(STEPS):
        gradient = slope(np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters]))
        for parameter, span in zip(parameters, spans, strict=True):
            parameter.grad = torch.from_numpy(gradient[span].copy())
        their.step()
        schedule.step()
    return np.concatenate([parameter.detach().numpy() for parameter in parameters])


def ours(done: Simulation) -> F32:
    done.run()
    return done.answer()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("mode", ["gradient", "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_with_groups_and_a_schedule_goes_where_pytorch_goes(
    kind: str, mode: str, shards: int
) -> None:
    algorithm = {"name": "asgd", "mode": mode}
    found = ours(simulation(job(**spec_of(kind, shards, algorithm=algorithm)), Wavy(), WORLD))
    assert np.abs(found - Wavy().initial()).max() > 0.1
    np.testing.assert_allclose(found, theirs(kind), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_with_groups_that_is_resumed_ends_with_the_same_bits(kind: str) -> None:
    the_job = job(**spec_of(kind, 3, checkpoint={"everySeconds": 1}))
    whole = ours(simulation(the_job, Wavy(), WORLD))
    store, clock = MemoryStore(), Clock()
    half = Simulation(the_job, Wavy(), WORLD, clock=clock, store=store)
    while clock.now < STEPS * STEP_SECONDS / 2:
        half.advance()
    resumed = Simulation(the_job, Wavy(), WORLD, clock=Clock(clock.now), store=store)
    first = resumed.cluster.servers[0].core
    assert first is not None and first.shard.state.version > STEPS / 4
    assert np.array_equal(ours(resumed), whole)
