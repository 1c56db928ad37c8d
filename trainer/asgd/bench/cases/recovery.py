"""`kill -9` of a parameter server: from the kill until a worker's push is accepted again by its replacement.

Twice: with a server that stands by, as `asgd run` keeps one, and with one that is started from nothing when the other
is dead, as a kubelet does (which adds delays of its own).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from asgd.bench import lanes
from asgd.bench.contender import Failed
from asgd.bench.ours import Pusher
from asgd.bench.plan import Plan
from asgd.bench.results import Line, Sample, Table
from asgd.bench.servers import Servers

NAME = "recovery"
ABOUT = "kill -9 of a server: until its replacement has accepted a push"
SLOW = True

SIZES = (10_000_000, 50_000_000)
WAIT_SECONDS = 60.0
SETTLE_SECONDS = 3.0
STANDING_BY, ANEW = "one stands by", "started anew"


def run(plan: Plan) -> list[Table]:
    """One table with a line for each size."""
    lines = []
    for size in (100_000,) if plan.tiny else SIZES:
        samples: dict[str, list[Sample | None]] = {STANDING_BY: [], ANEW: []}
        for number in range(plan.rounds):
            plan.progress(f"round {number + 1} of {plan.rounds}: {size / 1e6:g}M parameters")
            for name, found in samples.items():
                found.append(Sample(once(size, standing_by=name == STANDING_BY)))
        lines += [Line(f"{size / 1e6:g}M parameters, {name}", found) for name, found in samples.items()]
    return [Table("kill -9 to the next accepted push", "s", lines)]


def once(size: int, *, standing_by: bool) -> float:
    """Seconds of one recovery."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="asgd-bench-", dir=place) as name:
        folder = Path(name)
        lane = f"exchange.lane={lanes.same_host()}"
        kept = folder / "kept"
        kept.mkdir()
        servers = Servers(
            folder, [lane], local=True, checkpoint=str(folder / "checkpoints"), memory=str(kept)
        )
        acknowledged: list[tuple[int, float]] = []
        over = threading.Event()
        thread = threading.Thread(target=_push, args=(servers, size, acknowledged, over), daemon=True)
        try:
            thread.start()
            _until(lambda: any(kept.glob("*-[ab]")) and len(acknowledged) > 3)
            standby = servers.stand_by() if standing_by else None
            # NB: a server that stands by has had all the time it wants for its imports.
            time.sleep(SETTLE_SECONDS)
            killed = time.monotonic()
            servers.processes[0].kill()
            servers.processes[0].wait()
            servers.processes[0] = servers.take_over(standby, 0) if standby else servers.start(0)
            _until(lambda: acknowledged[-1][0] > 1)
            return next(at for term, at in acknowledged if term > 1) - killed
        finally:
            over.set()
            thread.join(WAIT_SECONDS)
            servers.end()


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise Failed(f"nothing happened for {WAIT_SECONDS:.0f} s")
        time.sleep(0.005)


def _push(servers: Servers, size: int, acknowledged: list[tuple[int, float]], over: threading.Event) -> None:
    pusher = Pusher(servers.job, servers.environment, 0, size, push=1e-6)
    while not over.is_set():
        pusher.update()
        acknowledged.append((pusher.centre.channels[0].term, time.monotonic()))
    pusher.centre.leave()
