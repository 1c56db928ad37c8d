"""Each strategy's own example trains digits in the simulator, over two shards, with a worker that dies and comes
back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from asgd.algorithms.registry import names, strategy
from asgd.drivers.virtual.simulation import Simulation
from asgd.spec import load_job
from asgd.spec.schema import structural
from asgd.spec.status import Status
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, Mishap, World

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "strategies"
ALGORITHM = structural()["properties"]["spec"]["properties"]["algorithm"]["properties"]
ALL = pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
ROBUST = {"krum": 0.94, "median": 0.94, "geometric-median": 0.94, "safeguard": 0.94, "zeno": 0.94}


def test_every_strategy_has_an_example_and_stands_in_the_api() -> None:
    assert (
        {path.stem for path in EXAMPLES.glob("*.yaml")} | {"asgd"}
        == set(names())
        == set(ALGORITHM["name"]["anyOf"][0]["enum"])
    )


def test_every_field_of_a_strategy_stands_in_the_api_and_every_field_of_the_api_is_some_strategys() -> None:
    fields = {field for name in names() for field in strategy(name).fields}
    assert fields | {"name", "mode", "deltaScale", "params"} == set(ALGORITHM)


@ALL
def test_the_example_learns_in_its_first_epochs(path: Path) -> None:
    """Four times as well as by chance, after four epochs."""
    assert trained(path, Mishap(1, 1.0, 0.5), "stopAfter={epochs: 4}").metrics["accuracy"] >= 0.4


@pytest.mark.slow
@pytest.mark.timeout(900)
@ALL
def test_the_example_trains_digits(path: Path) -> None:
    status = trained(path, Mishap(1, 20.0, 5.0))
    assert status.metrics["accuracy"] >= ROBUST.get(path.stem, 0.96)


def trained(path: Path, death: Mishap, *sets: str) -> Status:
    """The status at the end of a job in which worker 1 dies and comes back."""
    job = load_job(path, ["parameterServer.shards=2", "evaluation.everySeconds=100000", *sets])
    world = World(compute=ComputeTime("lognormal", 0.1, 0.1), latency=0.001, deaths=(death,))
    status = Simulation(job, TorchWork(job.spec), world).run()
    assert status.stop_reason == "epochs" and status.restarts["worker"] == 1
    assert msgspec.to_builtins(status)["lostUpdates"] == 0
    return status
