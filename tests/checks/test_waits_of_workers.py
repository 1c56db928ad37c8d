"""Each wait of a worker ends, and says why: real sockets, servers that have fallen silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from asgd import exitcodes
from asgd.errors import TryAgain
from asgd.host.env import ProcessConfig
from asgd.server.process import open_service
from asgd.spec.types import Job
from asgd.task import Task
from asgd.worker.process import work
from asgd.worker.task.build import build_task
from tests.checks.test_a1_processes import one_thread
from tests.checks.virtual import job

LONG = 300.0


class Bench:
    """A server in a thread of this process, which can fall silent, and the place for one worker."""

    def __init__(self, the_job: Job, folder: Path) -> None:
        self.job, self._endpoint = the_job, f"ipc://{folder}/s"
        self._service = open_service(self.config(self._endpoint))
        self._silent, self._thread = threading.Event(), threading.Thread(target=self._serve)
        self._thread.start()

    def config(self, bind: str = "", patience_seconds: float = LONG) -> ProcessConfig:
        return ProcessConfig(
            job=self.job, index=0, servers=(self._endpoint,), bind=bind, keys=None, metrics="", checkpoint="",
            announce=None, live=None, run="", node="", join_timeout_seconds=patience_seconds,
            incarnation=time.time_ns(),
        )  # fmt: skip

    def _serve(self) -> None:
        while not self._silent.is_set():
            self._service.step()

    def fall_silent(self) -> None:
        """Its socket stays open, and nobody is behind it any more."""
        self._silent.set()
        self._thread.join()

    def close(self) -> None:
        self.fall_silent()
        self._service.close()


@contextmanager
def bench(folder: Path, **spec: Any) -> Iterator[Bench]:
    workers = {"replicas": 1, "drainSeconds": 2}
    made = Bench(job(workers=workers, stopAfter={"updates": 100_000}, **spec), folder)
    try:
        with one_thread():
            yield made
    finally:
        made.close()


def task_of(bench: Bench, happens: Callable[[int], None] = lambda step: None) -> Task:
    """Digits; `happens` in each step, before its loss is computed."""
    task, steps = build_task(bench.job.spec), count(1)
    loss = task.loss

    def watched(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        # NB: a worker computes one loss in evaluation mode before it joins.
        if model.training:
            happens(next(steps))
        return loss(model, batch)

    task.loss = watched
    return task


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_worker_that_is_told_to_leave_does_not_wait_longer_than_it_may_drain(
    ahead: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    leaving: list[int] = []
    with bench(tmp_path, exchange={"ahead": ahead}) as made:

        def happens(step: int) -> None:
            if step == 20:
                made.fall_silent()
                leaving.append(1)

        assert work(made.config(), task_of(made, happens), leaving) == exitcodes.DRAINED
    said = capfd.readouterr().out
    assert "worker 0 leaves: told to leave" in said and "of workers.drainSeconds 2" in said
    assert "shard 0 still has not answered: what this worker pushed last may be lost" in said


def test_a_worker_whose_push_is_not_answered_gives_up_and_names_the_shard(tmp_path: Path) -> None:
    with bench(tmp_path) as made:

        def happens(step: int) -> None:
            if step == 20:
                made.fall_silent()

        with pytest.raises(TryAgain, match="shard 0 has not answered for 1 s"):
            work(made.config(patience_seconds=1.0), task_of(made, happens), [])


def test_a_worker_whose_request_for_data_is_not_answered_gives_up(tmp_path: Path) -> None:
    with bench(tmp_path, exchange={"fetchEvery": 100_000, "pushEvery": 100_000}) as made:

        def happens(step: int) -> None:
            if step == 1:
                made.fall_silent()

        with pytest.raises(TryAgain, match="shard 0, asked for data, has not answered for 1 s"):
            work(made.config(patience_seconds=1.0), task_of(made, happens), [])


def test_a_worker_that_nobody_welcomes_gives_up(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.fall_silent()
        with pytest.raises(TryAgain, match="shard 0 has not answered for 1 s"):
            work(made.config(patience_seconds=1.0), task_of(made), [])


def test_a_worker_that_has_failed_is_not_held_by_its_exchange_under_way(tmp_path: Path) -> None:
    """Its thread would wait for 300 s, and Python for its thread."""
    with bench(tmp_path, exchange={"ahead": 1}) as made:

        def happens(step: int) -> None:
            if step == 19:
                time.sleep(0.5)  # the exchange before is answered, and the next one is not
                made.fall_silent()
            if step == 20:
                raise ZeroDivisionError("mine")

        with pytest.raises(ZeroDivisionError, match="mine"):
            work(made.config(), task_of(made, happens), [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("exchange")]
