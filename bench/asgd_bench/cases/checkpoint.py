"""A checkpoint while training goes on: the workers' rate in the second of it, against the second before.

The store is memory (/dev/shm), so that what is measured is the server and not a disk.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from asgd_bench import lanes
from asgd_bench.busy import Busy
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.servers import Servers
from asgd_bench.system import Failed

NAME = "checkpoint"
ABOUT = "a checkpoint of 50M parameters under two busy workers: their rate in the second of it"
SLOW = True

PARAMETERS = 50_000_000
STEP_SECONDS = 0.1
EVERY_SECONDS = 5
WAIT_SECONDS = 60.0
BEFORE, DURING = "the second before", "the second of the checkpoint"


def run(plan: Plan) -> list[Table]:
    """One table, for workers whose own step takes 0.1 s."""
    size = 100_000 if plan.tiny else PARAMETERS
    found: dict[str, list[Sample | None]] = {BEFORE: [], DURING: []}
    failure = ""
    for number in plan.turns():
        plan.progress(f"round {number + 1}: a checkpoint")
        samples: list[Sample | None] = [None] * len(found)
        try:
            samples = [Sample(rate) for rate in once(size)]
        except Failed as error:
            failure = str(error)
        for name, sample in zip(found, samples, strict=True):
            found[name].append(sample)
    lines = [Line(name, samples, failure if name == DURING else "") for name, samples in found.items()]
    title = f"{size / 1e6:g}M parameters, two workers with a step of {STEP_SECONDS:g} s"
    return [Table(title, "updates/s", lines, BEFORE)]


def once(size: int) -> tuple[float, float]:
    """Updates/s in the second before a checkpoint and in its second, which ends just after the manifest is there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="asgd-bench-", dir=memory if memory.is_dir() else None) as name:
        store = Path(name) / "checkpoints"
        sets = [f"exchange.lane={lanes.same_host()}", f"checkpoint.everySeconds={EVERY_SECONDS}"]
        servers = Servers(Path(name), sets, local=True, checkpoint=str(store))
        busy: Busy | None = None
        try:
            busy = Busy(servers, size, 2, STEP_SECONDS)
            for index in (0, 1):
                busy.join(index)
            ready = time.monotonic()
            end = _next(store) + 0.1
            while end < ready + 2.5:
                end = _next(store) + 0.1
            time.sleep(1.0)
            return busy.rate(end - 2.0, end - 1.0), busy.rate(end - 1.0, end)
        finally:
            if busy:
                busy.end()
            servers.end()


def _next(store: Path) -> float:
    """When the next checkpoint from now on is complete. Raises Failed."""
    had, begin = set(store.rglob("manifest*.json")), time.monotonic()
    while not set(store.rglob("manifest*.json")) - had:
        if time.monotonic() - begin > WAIT_SECONDS:
            raise Failed(f"no checkpoint for {WAIT_SECONDS:.0f} s")
        time.sleep(0.005)
    return time.monotonic()
