"""`kill -9` of a parameter server: from the kill until a worker's push is accepted again by its replacement.

Twice: with a server that is forked from one that has its imports behind it, as by `asgd run`, and with one that is
started from nothing when the other is dead, as a kubelet does (which adds delays of its own).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from asgd.host.forking import ForkServer
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
FORKED, ANEW = "forked", "started anew"


def run(plan: Plan) -> list[Table]:
    """One table with a line for each size."""
    lines = []
    for size in (100_000,) if plan.tiny else SIZES:
        samples: dict[str, list[Sample | None]] = {FORKED: [], ANEW: []}
        for number in plan.turns():
            plan.progress(f"round {number + 1} of {plan.rounds}: {size / 1e6:g}M parameters")
            for name, found in samples.items():
                found.append(Sample(once(size, forked=name == FORKED)))
        lines += [Line(f"{size / 1e6:g}M parameters, {name}", found) for name, found in samples.items()]
    return [Table("kill -9 to the next accepted push", "s", lines)]


def once(size: int, *, forked: bool) -> float:
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
                return _recover(servers, worker, forked)
        finally:
            servers.end()


def _recover(servers: Servers, worker: Steady, forked: bool) -> float:
    forks = servers.fork_server() if forked else None
    try:
        return _kill(servers, worker, forks)
    finally:
        if forks:
            forks.close()


def _kill(servers: Servers, worker: Steady, forks: ForkServer | None) -> float:
    time.sleep(SETTLE_SECONDS)
    killed = time.monotonic()
    servers.processes[0].kill()
    servers.processes[0].wait()
    servers.processes[0] = servers.fork(forks, 0) if forks else servers.start(0)
    until(lambda: worker.acknowledged[-1][0] > 1)
    return next(at for term, at in worker.acknowledged if term > 1) - killed


def memory_folder() -> Path | None:
    """Where files lie in memory; None if nowhere."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
