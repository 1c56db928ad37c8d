"""What the peer scripts share: options, workers that start and stop together, and the talk with `asgd bench`.

The benchmark writes `{"run": SECONDS}` lines to standard input and reads one JSON line for each: how often every worker
updated, how long it took, and three elements of the parameters afterwards. Gradients are ones and parameters start at
zero, so each element must equal the number of updates so far. Standard library only, since peers live in
environments of their own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

TENSORS = 10
"""Peers with a tensor-wise interface hold the model in this many, as their tutorials do."""
CHUNK_BYTES = 1 << 20
WAIT_SECONDS = 120.0


def options(*extra: str) -> argparse.Namespace:
    """The command line that every peer has: --parameters, --workers, and `extra` ones with text values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    for name in extra:
        parser.add_argument("--" + name, default="")
    return parser.parse_args()


def sizes(parameters: int) -> list[int]:
    """Lengths of the TENSORS tensors that hold the model together."""
    return [parameters * (i + 1) // TENSORS - parameters * i // TENSORS for i in range(TENSORS)]


def probe(vector: Any) -> list[float]:
    """First, middle and last element of a flat vector: what proves that updates were applied."""
    return [float(vector[0]), float(vector[len(vector) // 2]), float(vector[-1])]


def probe_tensors(tensors: Sequence[Any]) -> list[float]:
    """As `probe`, of the first, the middle and the last tensor."""
    chosen = [tensors[0], tensors[len(tensors) // 2], tensors[-1]]
    return [float(chosen[0][0]), float(chosen[1][0]), float(chosen[2][-1])]


class Turn:
    """One round of one worker. `while turn(): update()` counts the updates."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.count = 0

    @property
    def over(self) -> bool:
        """Whether the round's time is up."""
        return time.monotonic() >= self._deadline

    def __call__(self) -> bool:
        if self.over:
            return False
        self.count += 1
        return True


class Barrier:
    """Lets all workers go at once for a given time; made by the launcher, passed to the worker processes."""

    def __init__(self, context: SpawnContext, workers: int) -> None:
        self._barrier = context.Barrier(workers + 1)
        self._deadline = context.Value("d", 0.0)
        self._counts = context.Array("q", workers)
        self._probe = context.Array("d", 3)

    def rounds(self, index: int, look: Callable[[], list[float]]) -> Iterator[Turn]:
        """For a worker: yields a turn for each round.

        `look` returns three elements of the parameters; worker 0 is asked when every worker has ended the round.
        """
        while True:
            self._barrier.wait()
            deadline = self._deadline.value
            if not deadline:
                return
            turn = Turn(deadline)
            yield turn
            self._counts[index] = turn.count
            self._barrier.wait(WAIT_SECONDS)
            if index == 0:
                self._probe[:] = look()
            self._barrier.wait(WAIT_SECONDS)

    def measure(self, seconds: float) -> dict[str, Any]:
        """For the launcher: one round; {updates of each worker, seconds it took, probe}."""
        begin = time.monotonic()
        self._deadline.value = begin + seconds
        self._barrier.wait(WAIT_SECONDS)
        self._barrier.wait(seconds + WAIT_SECONDS)
        took = time.monotonic() - begin
        self._barrier.wait(WAIT_SECONDS)
        return {"updates": self._counts[:], "seconds": took, "probe": self._probe[:]}

    def wait_for_workers(self) -> None:
        """For the launcher: waits until every worker is there, through one round without updates."""
        self.measure(0.0)

    def close(self) -> None:
        """For the launcher: lets the workers end."""
        self._deadline.value = 0.0
        self._barrier.wait(WAIT_SECONDS)


class ProcessGroup:
    """The processes of a peer that are started by `multiprocessing`: servers and workers."""

    def __init__(self, workers: int) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.barrier = Barrier(self.context, workers)
        self.processes: list[Any] = []
        self._ending = False

    def start(self, function: Callable[..., None], *arguments: Any) -> None:
        """Starts `function(*arguments)` in a process of its own."""
        process = self.context.Process(target=function, args=arguments, daemon=True)
        process.start()
        self.processes.append(process)

    def run(self) -> None:
        """Waits for the workers, answers the benchmark until it has enough, ends everything."""
        self.watch()
        self.barrier.wait_for_workers()
        serve(self.barrier.measure)
        # NB: whoever ends from now on was meant to.
        self._ending = True
        self.barrier.close()
        for process in self.processes:
            process.terminate()

    def watch(self) -> None:
        """Ends the launcher when one of its processes dies, so that nobody waits for it."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        connection.wait([process.sentinel for process in self.processes])
        if not self._ending:
            os._exit(1)


def serve(measure: Callable[[float], dict[str, Any]]) -> None:
    """Says that all is ready, then measures whenever the benchmark asks, until its end closes."""
    answer_runs(lambda request: measure(request["run"]))


def answer_runs(perform: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """As `serve`, for peers that are told more than the seconds of a run."""
    _answer({"ready": True})
    for line in sys.stdin:
        _answer(perform(json.loads(line)))


def _answer(body: dict[str, Any]) -> None:
    # NB: a file of its own, since libraries print to standard output as they like.
    with os.fdopen(os.dup(int(os.environ.get("BENCH_ANSWERS", "1"))), "w") as out:
        out.write(json.dumps(body) + "\n")


def enter_network(name: str) -> None:
    """Moves this process into the network namespace `name`; nothing if it is empty. Raises OSError."""
    if not name:
        return
    with Path("/run/netns", name).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns " + name)
