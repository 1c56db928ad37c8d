"""The advised number of workers is within one of the best fixed number, found by trying 1 to 16 in virtual time.

The best number is the smallest whose accepted samples a second are 95 % of the most that any number has. Whoever
follows the advice from 2, 8 or 16 workers, again and again until it stays the same, must come to it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from asgd.drivers.virtual.simulation import Simulation
from asgd.server.advice import ENOUGH
from asgd.spec.status import Status
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import Problem, job

MOST = 16
EXCHANGES = 56
"""Of the median worker: two looks at 20 each, and a start."""


def world(**given: Any) -> World:
    """A gradient takes 0.36 to 0.44 seconds, each worker has a machine of its own."""
    usual: dict[str, Any] = {"server_seconds": 0.0004}
    return World(compute=ComputeTime("uniform", 0.36, 0.44), nodes=MOST, **(usual | given))


CASES: dict[str, tuple[World, dict[str, Any]]] = {
    "the server has work for eleven workers": (world(server_seconds=0.04), {}),
    "in rounds one worker takes four times as long": (
        world(stragglers=((7, 4.0),)),
        {"algorithm": {"name": "sync"}},
    ),
    "pushes that are more than four updates old are refused": (
        world(),
        {"exchange": {"staleness": {"max": 4}}},
    ),
    "the workers are the limit": (world(), {}),
    "nobody is far ahead of one worker that takes four times as long": (
        world(stragglers=((7, 4.0),)),
        {"algorithm": {"name": "ssp"}},
    ),
    "a round's pushes queue up at the server": (world(server_seconds=0.02), {"algorithm": {"name": "sync"}}),
    "a network takes a third of each cycle": (world(server_seconds=0.04, latency=0.1), {}),
    "two shards serve, each all messages": (world(server_seconds=0.04), {"parameterServer": {"shards": 2}}),
    "one of the asynchronous workers is slow": (world(server_seconds=0.06, stragglers=((0, 3.0),)), {}),
}
QUICK = 1
"""So many of the cases run in each test run."""


@cache
def tried(case: str, workers: int) -> tuple[float, int]:
    """(accepted samples a second after the start, number of workers that is advised at the end)."""
    where, spec = CASES[case]
    seen: list[Status] = []
    the_job = job(
        workers={"replicas": workers, "maxReplicas": MOST}, stopAfter={"updates": EXCHANGES * workers}, **spec
    )
    flat = Problem(np.zeros(4), lambda weights, worker: weights * 0)
    last = Simulation(the_job, flat, where, seen.append).run()
    early = next(status for status in seen if status.updates >= last.updates / 4)
    rate = (last.samples - early.samples) / (last.seconds - early.seconds)
    assert last.advice is not None, f"no advice for {workers} workers"
    return rate, last.advice.workers


def best(case: str) -> int:
    """The smallest number of workers that is as good as any."""
    rates = {workers: tried(case, workers)[0] for workers in range(1, MOST + 1)}
    return min(workers for workers, rate in rates.items() if rate >= ENOUGH * max(rates.values()))


def followed(case: str, start: int) -> int:
    """Where the advice leads to, from so many workers.

    These are jobs of their own, which know nothing of a slow worker that is not there, so it may lead in a circle. Then
    the better rate counts: one job remembers what it has tried.
    """
    now, numbers = start, list[int]()
    while now not in numbers:
        numbers.append(now)
        now = tried(case, now)[1]
    circle = {workers: tried(case, workers)[0] for workers in numbers[numbers.index(now) :]}
    return min(workers for workers, rate in circle.items() if rate >= ENOUGH * max(circle.values()))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if number < QUICK else [pytest.mark.slow])
        for number, case in enumerate(CASES)
    ],
)
def test_who_follows_the_advice_comes_within_one_of_the_best_fixed_number_of_workers(case: str) -> None:
    wanted = best(case)
    assert [abs(followed(case, start) - wanted) <= 1 for start in (2, 8, 16)] == [True] * 3, (
        wanted, [followed(case, start) for start in (2, 8, 16)], [tried(case, n) for n in range(1, MOST + 1)],
    )  # fmt: skip
