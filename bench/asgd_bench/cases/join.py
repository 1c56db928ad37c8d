"""Joining a running job: how long a worker whose model is built takes to its first step and push, what others lose.

The newcomer rests after its first push: what a third busy worker takes from two others on the same cores is no price
of joining.
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

NAME = "join"
ABOUT = (
    "a third worker joins two that are busy: until its first step and push, and the others' rate meanwhile"
)
SLOW = True

PARAMETERS = 10_000_000
STEP_SECONDS = 0.2
"""A busy worker's own step: without one, two workers fill the machine and a third can only take from them."""
STEADY_SECONDS = 2.0
JOIN_SECONDS = 1.0
WORKING = "model built to the weights being there: it works"
JOINED = "model built to its first push being accepted"
BEFORE, DURING = "before", "in the second of the join"


def run(plan: Plan) -> list[Table]:
    """Two tables: the newcomer's seconds, and the updates/s of the others before and while it joins."""
    size = 100_000 if plan.tiny else PARAMETERS
    found: dict[str, list[Sample | None]] = {WORKING: [], JOINED: [], BEFORE: [], DURING: []}
    failure = ""
    for number in plan.turns():
        plan.progress(f"round {number + 1}: a worker joins")
        samples: list[Sample | None] = [None] * len(found)
        try:
            samples = [Sample(value) for value in once(size)]
        except Failed as error:
            failure = str(error)
        for name, sample in zip(found, samples, strict=True):
            found[name].append(sample)
    title = f"{size / 1e6:g}M parameters, TCP, two busy workers"
    third = [Line(name, found[name], failure) for name in (WORKING, JOINED)]
    others = [Line(name, found[name]) for name in (BEFORE, DURING)]
    return [
        Table(f"a third worker, {title}", "s", third),
        Table(f"the others, {title}", "updates/s", others, BEFORE),
    ]


def once(size: int) -> tuple[float, float, float, float]:
    """(seconds until the newcomer works, until its first push, the others' updates/s before, in the join's second)."""
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as folder:
        sets = [f"exchange.lane={lanes.between_machines()}", "network.encryption=None"]
        servers = Servers(Path(folder), sets, local=False)
        busy: Busy | None = None
        try:
            busy = Busy(servers, size, 3, STEP_SECONDS, resting=1)
            for index in (0, 1):
                busy.join(index)
            time.sleep(0.5)
            begin = time.monotonic()
            time.sleep(STEADY_SECONDS)
            joining = time.monotonic()
            working, joined = busy.join(2)
            # NB: long enough that the updates under way at the end of the window have come back.
            time.sleep(max(0.0, joining + 2 * JOIN_SECONDS - time.monotonic()))
            return working, joined, busy.rate(begin, joining), busy.rate(joining, joining + JOIN_SECONDS)
        finally:
            if busy:
                busy.end()
            servers.end()
