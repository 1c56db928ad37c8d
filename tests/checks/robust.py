"""Ten workers on digits of which four lie: one run, and what became of it."""

from __future__ import annotations

from typing import Any

from asgd.drivers.virtual.models import ComputeTime, World
from asgd.drivers.virtual.simulation import Simulation
from asgd.drivers.virtual.work import TorchWork
from asgd.spec.types import Byzantine
from tests.checks.virtual import job

BYZANTINE = (6, 7, 8, 9)
LATEST = {"sign-flip": 20, "scaled": 30, "label-flip": 30, "zero": 45, "delayed": 50, "variance": 200}
"""The six attacks of the paper's table (`scaled` is its safeguard attack), and the round by which all are caught."""


def trained(
    name: str, attack: str, seed: int, rounds: int = 600, **fields: Any
) -> tuple[float, dict[int, int]]:
    """(accuracy on digits, {worker: round in which it was first rejected}) of 10 workers, the last 4 of them lying."""
    world = World(
        compute=ComputeTime("constant", 1.0), attacks=(Byzantine(attack, BYZANTINE),) if attack else ()
    )
    spec = job(
        seed=seed, algorithm={"name": name, **fields}, stopAfter={"updates": rounds * 10}, workers={"replicas": 10},
        evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, TorchWork(spec.spec), world)
    facts, caught = run.cluster.servers[0].shard.state.facts, {}
    while run.advance():
        for worker in facts.get("rejected", []):
            caught.setdefault(worker, facts["rounds"])
    return run.work.evaluate(run.answer())["accuracy"], caught
