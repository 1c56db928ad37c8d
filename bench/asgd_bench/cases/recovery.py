"""`kill -9` of a parameter server: from the kill until a worker's push is accepted again by its replacement.

Twice: with a server that stands by, as `asgd run` keeps one, and with one that is started from nothing when the other
is dead, as a kubelet does (which adds delays of its own).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from asgd_bench import lanes
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table
from asgd_bench.servers import Servers
from asgd_bench.steady import Steady, until

NAME = "recovery"
ABOUT = "kill -9 of a server: until its replacement has accepted a push"
SLOW = True

SIZES = (10_000_000, 50_000_000)
SETTLE_SECONDS = 3.0
STANDING_BY, ANEW = "one stands by", "started anew"


def run(plan: Plan) -> list[Table]:
    """One table with a line for each size."""
    lines = []
    for size in (100_000,) if plan.tiny else SIZES:
        samples: dict[str, list[Sample | None]] = {STANDING_BY: [], ANEW: []}
        for number in plan.turns():
            plan.progress(f"round {number + 1} of {plan.rounds}: {size / 1e6:g}M parameters")
            for name, found in samples.items():
                found.append(Sample(once(size, standing_by=name == STANDING_BY)))
        lines += [Line(f"{size / 1e6:g}M parameters, {name}", found) for name, found in samples.items()]
    return [Table("kill -9 to the next accepted push", "s", lines)]


def once(size: int, *, standing_by: bool) -> float:
    """Seconds of one recovery."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-", dir=memory_folder()) as name:
        folder = Path(name)
        kept = folder / "kept"
        kept.mkdir()
        lane = f"exchange.lane={lanes.same_host()}"
        store = str(folder / "checkpoints")
        servers = Servers(folder, [lane], local=True, checkpoint=store, memory=str(kept))
        try:
            with Steady(servers, size) as worker:
                until(lambda: any(kept.glob("*-[ab]")) and len(worker.acknowledged) > 3)
                return _recover(servers, worker, standing_by)
        finally:
            servers.end()


def _recover(servers: Servers, worker: Steady, standing_by: bool) -> float:
    standby = servers.stand_by() if standing_by else None
    # NB: a server that stands by has had all the time it wants for its imports.
    time.sleep(SETTLE_SECONDS)
    killed = time.monotonic()
    servers.processes[0].kill()
    servers.processes[0].wait()
    servers.processes[0] = servers.take_over(standby, 0) if standby else servers.start(0)
    until(lambda: worker.acknowledged[-1][0] > 1)
    return next(at for term, at in worker.acknowledged if term > 1) - killed


def memory_folder() -> Path | None:
    """Where files lie in memory; None if nowhere."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
