"""A worker that never finishes its batch, while its heartbeats go on: nobody waits for it longer than its deadline."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.status import Status
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import job
from tests.effort import first

DEADLINE = 30
STRATEGIES: dict[str, dict[str, Any]] = {
    "asgd": {},
    "two shards": {"parameterServer": {"shards": 2}},
    "sync": {"algorithm": {"name": "sync"}},
    "safeguard, two shards": {"algorithm": {"name": "safeguard"}, "parameterServer": {"shards": 2}},
    "easgd": {"algorithm": {"name": "easgd"}},
    "diloco": {"algorithm": {"name": "diloco", "period": 5}},
    "ssp": {"algorithm": {"name": "ssp", "bound": 1}},
    "lsgd": {"algorithm": {"name": "lsgd"}},
    "waits for the stalest": {"exchange": {"staleness": {"max": 1, "policy": "Wait"}}},
    "pulls ahead": {"exchange": {"ahead": 1}},
    "warm start": {"exchange": {"warmStart": {"samples": 1500}}},
}
OF_EACH_KIND = 5
"""The first ones: without rounds, with them, and with local steps, on one shard and on two."""
SIZE, EPOCHS = 1437, 20


def hung(index: int = 1, at: float = 5.0, **spec: Any) -> list[Status]:
    """Three workers of which `index` hangs from second `at` on; a step takes a tenth of a second."""
    world = World(compute=ComputeTime("uniform", 0.1, 0.12), hangs=(Mishap(index, at),))
    workers = {"replicas": 3, "progressDeadlineSeconds": DEADLINE}
    the_job = job(
        **{"stopAfter": {"epochs": EPOCHS}, "workers": workers, "evaluation": {"everySeconds": 0}, **spec}
    )
    seen: list[Status] = []
    Simulation(the_job, TorchWork(the_job.spec), world, seen.append).run()
    return seen


@pytest.mark.parametrize("strategy", first(STRATEGIES, OF_EACH_KIND))
def test_the_others_go_on_and_every_sample_is_visited_once_an_epoch(strategy: str) -> None:
    index = 0 if strategy == "warm start" else 1
    seen = hung(index, **STRATEGIES[strategy])
    status = seen[-1]
    assert (status.stop_reason, status.epochs, status.samples) == ("epochs", EPOCHS, EPOCHS * SIZE)
    assert (status.revisited_samples, status.restarts["worker"]) == (0, 1)
    assert [worker.index for worker in status.workers if worker.state == "hung"] == [index]
    named = [one for one in seen if one.waiting_for.startswith(f"worker {index} holds ")]
    assert named and named[0].waiting_for.endswith(f"it is given up after {DEADLINE} s")
    # The job's own seconds begin with its first push.
    assert named[0].seconds - 5 == pytest.approx(DEADLINE / 2, abs=2)
    stalled = [worker for worker in named[-1].workers if worker.state == "stalled"]
    assert [worker.index for worker in stalled] == [index]
    assert stalled[0].samples_held > 0 and DEADLINE / 2 < stalled[0].idle_seconds <= DEADLINE + 1
    assert [notice.text for notice in status.notices] == [
        f"worker {index} holds {stalled[0].samples_held} samples and has pushed nothing for {DEADLINE} s: its samples"
        " go to others, nobody waits for it, it has to end"
    ]


def test_without_a_deadline_in_the_job_a_minute_is_the_least() -> None:
    seen = hung(workers={"replicas": 3})
    given_up = next(status for status in seen if status.notices)
    assert given_up.seconds - 5 == pytest.approx(60, abs=1)
    assert seen[-1].epochs == EPOCHS
