"""Joining a running job: from a worker's imports to its first accepted push, and what the others lose meanwhile.

The newcomer rests after its first push: what a third busy worker takes from two others on the same cores is no price
of joining. Updates are counted in fractions, between the times at which they came back, since a second has few.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from asgd.bench import lanes
from asgd.bench.contender import Failed
from asgd.bench.ours import Pusher
from asgd.bench.plan import Plan
from asgd.bench.results import Line, Sample, Table
from asgd.bench.servers import Servers
from asgd.spec import job_from_json, job_to_json

NAME = "join"
ABOUT = (
    "a third worker joins two that are busy: until its first accepted push, and the others' rate meanwhile"
)
SLOW = True

PARAMETERS = 10_000_000
STEP_SECONDS = 0.1
"""A busy worker's own step: without one, two workers fill the machine and a third can only take from them."""
STEADY_SECONDS = 2.0
JOIN_SECONDS = 1.0
MOST_UPDATES = 4096


def run(plan: Plan) -> list[Table]:
    """Two tables: the newcomer's seconds, and the updates/s of the others before and while it joins."""
    size = 100_000 if plan.tiny else PARAMETERS
    joined: list[Sample | None] = []
    before: list[Sample | None] = []
    during: list[Sample | None] = []
    for number in plan.turns():
        plan.progress(f"round {number + 1}: a worker joins")
        seconds, steady, disturbed = once(size)
        joined.append(Sample(seconds))
        before.append(Sample(steady))
        during.append(Sample(disturbed))
    title = f"{size / 1e6:g}M parameters, TCP, two busy workers"
    others = [Line("before", before), Line("in the second of the join", during)]
    return [
        Table(f"a third worker, {title}", "s", [Line("imports done to first accepted push", joined)]),
        Table(f"the others, {title}", "updates/s", others, "before"),
    ]


def once(size: int) -> tuple[float, float, float]:
    """(seconds to the newcomer's first push, the others' updates/s before, the same in the second of the join)."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as folder:
        sets = [f"exchange.lane={lanes.between_machines()}", "network.encryption=None"]
        servers = Servers(Path(folder), sets, local=False)
        stamps = [context.Array("d", MOST_UPDATES) for _ in range(3)]
        pipes = [context.Pipe() for _ in range(3)]
        job = job_to_json(servers.job)
        workers = [
            context.Process(
                target=work,
                args=(index, job, servers.environment, size, stamps[index], pipe[1], index == 2),
                daemon=True,
            )
            for index, pipe in enumerate(pipes)
        ]
        try:
            for worker in workers:
                worker.start()
            for pipe, _ in pipes:
                _hear(pipe)
            for pipe, _ in pipes[:2]:
                pipe.send("go")
                _hear(pipe)
            time.sleep(0.5)
            begin = time.monotonic()
            time.sleep(STEADY_SECONDS)
            joining = time.monotonic()
            pipes[2][0].send("go")
            took = _hear(pipes[2][0])
            # NB: long enough that updates under way at the end of the window have come back.
            time.sleep(max(0.0, joining + 2 * JOIN_SECONDS - time.monotonic()))
            times = [[at for at in stamps[index][:] if at] for index in (0, 1)]
            steady, disturbed = (
                sum(between(own, first, last) for own in times) / (last - first)
                for first, last in ((begin, joining), (joining, joining + JOIN_SECONDS))
            )
            return took, steady, disturbed
        finally:
            for worker in workers:
                worker.kill()
            servers.end()


def between(times: Sequence[float], first: float, last: float) -> float:
    """Updates between two moments, given when each came back; one that spans a moment counts by its share."""
    if len(times) < 2 or times[0] > first or times[-1] < last:
        raise Failed("the workers were too slow to be counted")
    at_first, at_last = np.interp([first, last], times, range(len(times)))
    return float(at_last - at_first)


def _hear(pipe: Connection) -> float:
    if not pipe.poll(60):
        raise Failed("a worker did not join within 60 s")
    return float(pipe.recv())


def work(
    index: int, job: bytes, environment: dict[str, str], size: int, stamps: Any, pipe: Connection, rests: bool
) -> None:
    """A worker process: says that its imports are done, joins when told, says how long its first push took, goes on."""
    pipe.send(0.0)
    pipe.recv()
    begin = time.monotonic()
    pusher = Pusher(job_from_json(job), environment, index, size, push=1e-6)
    pusher.update()
    pipe.send(time.monotonic() - begin)
    if rests:
        time.sleep(60)
    for number in range(MOST_UPDATES):
        time.sleep(STEP_SECONDS)
        pusher.update()
        stamps[number] = time.monotonic()
