"""Safeguard among workers that join one by one, die, stand still and restart: only liars are rejected.

The simulator plays what made a real run reject honest workers: rounds before everybody was there, with as many liars
as others in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from asgd.algorithms.base import Contribution, Push, ShardState
from asgd.algorithms.rounds import Decision
from asgd.algorithms.safeguard import SafeguardServer, quorum
from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.types import Byzantine
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.robust import BYZANTINE
from tests.checks.virtual import job

LIARS = tuple(
    Byzantine(attack, (worker,))
    for attack, worker in zip(("sign-flip", "label-flip", "inner", "scaled"), BYZANTINE, strict=True)
)
UNEVEN = ComputeTime("lognormal", 1.0, 0.2)


def rejected(world: World, rounds: int, seed: int = 0) -> list[int]:
    """Whom Safeguard ever rejected of ten workers on digits."""
    spec = job(
        seed=seed, algorithm={"name": "safeguard"}, stopAfter={"updates": rounds * 10}, workers={"replicas": 10},
        evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, TorchWork(spec.spec), world)
    while run.advance():
        pass
    return list(run.cluster.servers[0].shard.state.facts["everRejected"])


@pytest.mark.parametrize("seed", [0, 1])
def test_who_joins_late_into_a_majority_of_liars_is_not_rejected_and_the_liars_are(seed: int) -> None:
    order = [6, 8, 9, 5, 0, 7, 1, 2, 3, 4]
    joins = tuple(Mishap(worker, 4.0 * place) for place, worker in enumerate(order))
    assert rejected(World(compute=UNEVEN, attacks=LIARS, joins=joins), 80, seed) == list(BYZANTINE)


def test_who_stood_still_and_who_died_are_not_rejected() -> None:
    """Both are given up, miss some thirty rounds and take part again."""
    world = World(
        compute=UNEVEN, attacks=LIARS, pauses=(Mishap(2, 20.0, 45.0),), deaths=(Mishap(3, 30.0, 30.0),)
    )
    assert rejected(world, 110) == list(BYZANTINE)


def test_a_liar_that_keeps_restarting_is_caught() -> None:
    """Its record outlives it; every restart comes before an honest memory of it would be long enough."""
    deaths = tuple(Mishap(8, 4.0 * number, 1.5) for number in range(1, 30))
    world = World(
        compute=ComputeTime("constant", 1.0),
        attacks=(Byzantine("sign-flip", (8,)),),
        deaths=deaths,
        detect_seconds=0.5,
    )
    assert rejected(world, 60) == [8]


# -- one shard, fed by hand --------------------------------------------------------------------------


class Table:
    """Rounds of a shard of two weights; gradients by worker."""

    def __init__(self, workers: int, **fields: float) -> None:
        self.spec = job(algorithm={"name": "safeguard", **fields}, workers={"replicas": workers}).spec
        self.server = SafeguardServer(self.spec)
        self.state = ShardState(np.zeros(2, np.float32), {}, np.zeros(2, np.float32))

    def round(self, gradients: dict[int, Sequence[float]]) -> Decision:
        given = [
            Contribution(Push(worker, 1, 0, 0, 1, 1, 1), np.array(vector, np.float32), complete=True)
            for worker, vector in sorted(gradients.items())
        ]
        measures = self.server.measure(self.state, given)
        decision = self.server.decide(self.state, [part.push for part in given], measures)
        self.server.close(self.state, given, decision)
        return decision

    def apart(self, one: int, other: int) -> float:
        """Between the sums of two workers over the long window."""
        kept = self.state.kept
        return float(np.linalg.norm(kept[-1 - one][2:] - kept[-1 - other][2:]))


def test_sums_are_as_far_apart_after_rounds_that_one_of_them_missed() -> None:
    table = Table(3)
    for _ in range(5):
        table.round({0: (1, 0), 1: (1, 0), 2: (1, 1)})
    before = table.apart(0, 2)
    for _ in range(20):
        table.round({0: (1, 0), 1: (1, 0)})
    assert table.apart(0, 2) == pytest.approx(before) and before > 1


def test_who_restarts_keeps_its_sums_and_who_joins_for_the_first_time_makes_all_windows_begin_anew() -> None:
    table = Table(3)
    table.round({0: (1, 0), 1: (0, 1)})
    assert table.apart(0, 1) > 0.5
    table.server.left(table.state, 1)
    assert not table.round({0: (1, 0), 1: (1, 0)})["anew"] and table.apart(0, 1) > 0.5
    assert table.round({0: (1, 0), 1: (1, 0), 2: (1, 0)})["anew"]
    assert table.apart(0, 1) == table.apart(0, 2) == 0


def test_a_shard_that_lost_its_sums_begins_with_equal_ones() -> None:
    table = Table(3)
    for _ in range(5):
        table.round({0: (1, 0), 1: (0, 1), 2: (0, 1)})
    table.state.kept.clear()
    table.round({0: (1, 0), 1: (1, 0), 2: (1, 0)})
    assert table.apart(0, 1) == table.apart(1, 2) == 0


def test_fewer_than_can_outvote_all_liars_judge_nobody() -> None:
    """Three liars of ten are a majority among five and would have the two honest ones rejected."""
    table = Table(10, shortFloor=0.01, longFloor=0.01)
    for _ in range(50):
        lie, truth = (-1.0, 0.0), (1.0, 0.0)
        assert table.round({0: truth, 1: truth, 6: lie, 7: lie, 8: lie})["rejected"] == []


def test_a_job_that_is_scaled_goes_by_the_majority_of_its_new_number() -> None:
    table = Table(4, shortFloor=0.01, longFloor=0.01)
    table.server.expect(10)
    lie, truth = (-1.0, 0.0), (1.0, 0.0)
    for _ in range(50):
        assert table.round({0: truth, 1: truth, 6: lie, 7: lie, 8: lie})["rejected"] == []


@pytest.mark.parametrize(
    ("workers", "present", "near"),
    [(10, 10, 6), (9, 9, 5), (10, 9, 5), (10, 5, 5), (10, 3, 5), (1, 1, 1), (4, 12, 7)],
)
def test_the_quorum_is_a_majority_of_those_present_and_more_than_all_liars(
    workers: int, present: int, near: int
) -> None:
    assert quorum(workers, present) == near
    assert near > present / 2 and near > (workers - 1) // 2
