"""Workers in processes of their own that push and pull over and over, and say when each update came back.

For what disturbs them: updates are counted in fractions, between the times at which they came back, since a second has
few of a large model.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from asgd.spec import job_from_json, job_to_json
from asgd_bench.ours import Model, Pusher
from asgd_bench.servers import Servers
from asgd_bench.system import Failed

MOST_UPDATES = 1 << 14
WAIT_SECONDS = 60.0


class Busy:
    """`workers` of them, whose imports are done and whose models are built when this is made.

    `step_seconds` is the time of a step of their own.
    The last `resting` of them make one update and then nothing more.
    """

    def __init__(
        self, servers: Servers, size: int, workers: int, step_seconds: float, resting: int = 0
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._stamps = [context.Array("d", MOST_UPDATES) for _ in range(workers)]
        self._pipes = [context.Pipe() for _ in range(workers)]
        self._working = workers - resting
        job = job_to_json(servers.job)
        self._processes = [
            context.Process(
                target=_work, daemon=True,
                args=(
                    index, job, servers.environment, size, step_seconds if index < self._working else None,
                    self._stamps[index], self._pipes[index][1],
                ),
            )
            for index in range(workers)
        ]  # fmt: skip
        for process in self._processes:
            process.start()
        for index in range(workers):
            self._hear(index)

    def join(self, index: int) -> tuple[float, float]:
        """Lets a worker join; seconds until it has the weights, and until its first push is in. Raises Failed."""
        self._pipes[index][0].send("go")
        return self._hear(index), self._hear(index)

    def rate(self, first: float, last: float) -> float:
        """Updates/s of all that work between two moments, both by now more than an update ago. Raises Failed."""
        times = [[at for at in stamps[:] if at] for stamps in self._stamps[: self._working]]
        return sum(between(own, first, last) for own in times) / (last - first)

    def end(self) -> None:
        """Kills them."""
        for process in self._processes:
            process.kill()
            process.join()

    def _hear(self, index: int) -> float:
        if not self._pipes[index][0].poll(WAIT_SECONDS):
            raise Failed(f"a worker did not join within {WAIT_SECONDS:.0f} s")
        return float(self._pipes[index][0].recv())


def between(times: Sequence[float], first: float, last: float) -> float:
    """Updates between two moments, given when each came back; one that spans a moment counts by its share."""
    if len(times) < 2 or times[0] > first or times[-1] < last:
        raise Failed("the workers were too slow to be counted")
    at_first, at_last = np.interp([first, last], times, range(len(times)))
    return float(at_last - at_first)


def _work(
    index: int, job: bytes, environment: dict[str, str], size: int, step_seconds: float | None, stamps: Any,
    pipe: Connection,
) -> None:  # fmt: skip
    """A worker process: says that its model is there, joins when told, says how long what took, goes on."""
    parsed = job_from_json(job)
    model = None if parsed.spec.exchange.lane == "shm" else Model(size)
    pipe.send(0.0)
    pipe.recv()
    begin = time.monotonic()
    pusher = Pusher(parsed, environment, index, size, push=1e-6, model=model)
    pipe.send(time.monotonic() - begin)
    pusher.update()
    pipe.send(time.monotonic() - begin)
    if step_seconds is None:
        pipe.recv()
        return
    for number in range(MOST_UPDATES):
        time.sleep(step_seconds)
        pusher.update()
        stamps[number] = time.monotonic()
