"""A checkpoint store that takes 30 s for each call, or never answers: no push waits for it, and it is told."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from asgd.worker.sending.centre import Centre
from tests.checks.processes import SIZE, centre_of, push_of
from tests.local.slow_store import SlowStore

SPEC = {
    "entrypoint": "nobody:asks",
    "optimizer": {"learningRate": 0.001},
    "stopAfter": {"updates": 1_000_000},
    "parameterServer": {"shards": 1},
    "checkpoint": {"everySeconds": 0.5},
}


def push(centre: Centre, times: int) -> None:
    for _ in range(times):
        pulled = np.zeros(SIZE, np.float32)
        assert centre.exchange(np.ones(SIZE, np.float32), pulled, push_of(centre)).verdicts == ("applied",)


def until(run: SlowStore, centre: Centre, saves: int) -> None:
    """Pushes until there are so many complete saves."""
    deadline = time.monotonic() + 60
    while len(run.manifests()) < saves:
        assert time.monotonic() < deadline, run.logs()
        push(centre, 10)


@pytest.mark.slow
def test_pushes_go_on_while_the_store_hangs_and_the_status_says_so(tmp_path: Path) -> None:
    with SlowStore(tmp_path, SPEC) as run:
        centre = centre_of(run, 0)
        centre.join(lambda: np.ones(SIZE, np.float32))
        until(run, centre, 2)
        run.hang()
        while "the checkpoint store has not answered for" not in run.until(lambda _: True).checkpoint_error:
            push(centre, 50)
        status = run.until(lambda status: status.updates == centre.channels[0].acknowledged)
        assert run.metric("asgd_server_checkpoint_store_busy_seconds") > 10
        saves = len(run.manifests())
        run.mend()
        until(run, centre, saves + 2)
        assert run.until(lambda status: not status.checkpoint_error).updates > status.updates
        log = (tmp_path / "server-0.log").read_text()
        assert log.count("has not answered for") == 1 and log.count("answers again") == 1, log
        centre.leave()


@pytest.mark.slow
def test_a_server_that_is_told_to_end_does_not_wait_for_a_store_that_never_answers(tmp_path: Path) -> None:
    with SlowStore(tmp_path, SPEC, seconds=1e9) as run:
        centre = centre_of(run, 0)
        centre.join(lambda: np.ones(SIZE, np.float32))
        until(run, centre, 1)
        run.hang()
        push(centre, 100)
        run.servers[0].send_signal(signal.SIGTERM)
        assert run.servers[0].wait(60) == 0, run.logs()
        centre.leave()
