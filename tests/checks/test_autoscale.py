"""A job with `workers.autoscale` settles at a number of workers that is nearly as fast as the best fixed one.

The rate that counts is that of accepted samples a second after the number has settled. The best fixed number is found
by trying 1 to 16, as for the advice (`test_advised_workers.py`, whose worlds these are).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.status import Status
from asgd.world.models import ComputeTime, World
from tests.checks.test_advised_workers import CASES, MOST, tried, world
from tests.checks.virtual import Problem, job

NEAR = 0.9
"""Of the best fixed number's rate."""
SETTLED, END = 215.0, 265.0
WINDOW = 60
SERVER, STALE = (
    "the server has work for eleven workers",
    "pushes that are more than four updates old are refused",
)
STRAGGLER = "in rounds one worker takes four times as long"
FROM = {
    # world: the numbers of workers to start with
    SERVER: (2,),
    STALE: (MOST,),
    STRAGGLER: (2, MOST),
    "the workers are the limit": (2,),
    "a round's pushes queue up at the server": (2,),
    "nobody is far ahead of one worker that takes four times as long": (2,),
}


Changes = list[tuple[float, int]]


def scaled(
    where: World, spec: dict[str, Any], start: int, seconds: float
) -> tuple[Simulation, list[Status], Changes]:
    """The job, what it told, and each change as (second, number of workers)."""
    seen: list[Status] = []
    changes: Changes = []
    rule = {"min": 1, "max": MOST, "stabilizationWindowSeconds": WINDOW}
    the_job = job(
        workers={"replicas": start, "maxReplicas": MOST, "autoscale": rule}, stopAfter={"seconds": seconds}, **spec
    )  # fmt: skip
    flat = Problem(np.zeros(4), lambda weights, worker: weights * 0)

    def changed(why: str) -> None:
        changes.append((simulation.clock.now, simulation.scale.workers if simulation.scale else 0))

    simulation = Simulation(the_job, flat, where, seen.append, scaled=changed)
    simulation.run()
    return simulation, seen, changes


def turns(start: int, changes: Changes) -> int:
    """How often the number of workers went the other way."""
    numbers = [start, *(workers for _, workers in changes)]
    ways = [after > before for before, after in pairwise(numbers)]
    return sum(a != b for a, b in pairwise(ways))


@pytest.mark.parametrize(
    ("case", "start"),
    [
        pytest.param(case, start, marks=[] if (case, start) == (STALE, MOST) else [pytest.mark.slow])
        for case, starts in FROM.items()
        for start in starts
    ],
)
def test_it_settles_near_the_rate_of_the_best_fixed_number_without_turning_round(
    case: str, start: int
) -> None:
    where, spec = CASES[case]
    simulation, seen, changes = scaled(where, spec, start, END)
    early = next(status for status in seen if status.seconds >= SETTLED)
    rate = (seen[-1].samples - early.samples) / (seen[-1].seconds - early.seconds)
    best = max(tried(case, workers)[0] for workers in range(1, MOST + 1))
    assert rate >= NEAR * best, (rate, best, changes)
    assert all(second < SETTLED for second, _ in changes) and turns(start, changes) <= 1, changes
    # Whoever was told to leave has left, and whoever came is at work.
    running = [status for status in seen if status.phase == "running"]
    alive = [worker.index for worker in running[-1].workers if worker.alive]
    assert simulation.scale and sorted(alive) == list(range(simulation.scale.workers))
    assert not seen[-1].workers_lost and seen[-1].lost_updates == 0


@pytest.mark.slow
def test_steps_that_vary_by_half_do_not_make_the_number_swing() -> None:
    noisy = World(compute=ComputeTime("lognormal", 0.4, 0.5), nodes=MOST, server_seconds=0.04)
    _, _, changes = scaled(noisy, {}, 2, 450.0)
    assert changes[-1][1] in range(10, 15) and turns(2, changes) <= 1 and len(changes) <= 6, changes


def test_the_bounds_hold_where_the_advice_leads_beyond_them() -> None:
    rule = {"min": 2, "max": 3}
    the_job = job(workers={"replicas": 2, "autoscale": rule}, stopAfter={"seconds": 80})
    flat = Problem(np.zeros(4), lambda weights, worker: weights * 0)
    why: list[str] = []
    simulation = Simulation(the_job, flat, world(), scaled=why.append)
    simulation.run()
    assert simulation.scale and simulation.scale.workers == 3
    assert [each.startswith("workers 2 -> 3: 4 workers would train") for each in why] == [True]
    assert why[0].endswith("; workers.autoscale.max is 3")
