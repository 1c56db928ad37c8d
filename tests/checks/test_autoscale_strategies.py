"""Each strategy trains while the number of its workers is set by advice, or is refused by a sentence."""

from __future__ import annotations

import pytest

from asgd.algorithms.registry import names, strategy
from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.problems import JobError
from asgd.world.models import ComputeTime, World
from tests.checks.crossings import (
    EPOCHS,
    NOISE_FACTOR,
    NOISE_LEFT,
    STEP_SECONDS,
    STRATEGIES,
    Cell,
    Squares,
    plain,
    spec,
)
from tests.checks.virtual import job

MOST = 6
RULE = {"min": 2, "max": MOST, "stabilizationWindowSeconds": 0}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name == "asgd" or strategy(name).counts != "samples" else [pytest.mark.slow]
        )
        for name in names()
    ],
)
def test_a_strategy_trains_with_a_number_of_workers_that_grows_or_is_refused(name: str) -> None:
    fields = spec(Cell(name)) | {"stopAfter": {"epochs": 3 * EPOCHS}}
    fields["workers"] = {**fields["workers"], "autoscale": RULE}
    if strategy(name).counts != "samples":
        with pytest.raises(JobError, match=rf"spec\.workers\.autoscale: {name} \w+ .*; leave autoscale out"):
            job(**fields)
        return
    work, changes = Squares(), list[str]()
    world = World(compute=ComputeTime("lognormal", STEP_SECONDS, 0.1), nodes=MOST)
    simulation = Simulation(job(**fields), work, world, scaled=changes.append)
    status = simulation.run()
    assert status.stop_reason == "epochs" and not status.workers_lost
    assert changes and changes[0].startswith(f"workers 4 -> {MOST}: "), changes
    assert work.left(simulation.answer(), 0.0) <= max(NOISE_LEFT, NOISE_FACTOR * plain(name, 0))


def test_every_strategy_is_asked() -> None:
    assert {each.split(",")[0] for each in STRATEGIES} == set(names())
