"""Workers that die, join, leave and freeze: the others go on, and every sample is visited once an epoch."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests import warm
from tests.local.run import HERE, Counting, Run


def test_when_a_worker_is_killed_every_sample_is_still_visited_exactly_once_an_epoch(tmp_path: Path) -> None:
    with Counting(tmp_path, 12) as run:
        run.until_updates(60)
        run.signal("worker-1", signal.SIGKILL)
        run.until("the worker is back", lambda: _restarts(run) == 1)
        assert run.finish() == 0, run.words()
        first, second = run.model()["first"], run.model()["second"]
        assert np.array_equal(first, np.full(512, 12.0))
        # The push that was on its way when the worker died may have reached only one of the shards.
        assert np.count_nonzero(second != 12.0) <= 8
        summary = run.summary()
        assert (summary.stop_reason, summary.epochs, summary.samples) == ("epochs", 12.0, 12 * 512)
        assert (summary.updates, summary.revisited_samples) == (12 * 512 // 8, 0)
        assert (summary.restarts["worker"], summary.workers_lost, summary.lost_updates) == (1, [1], 0)
        lost = next(line["t"] for line in run.history("member") if line["event"] == "lost")
        back = next(
            line["t"] for line in run.history("member") if line["event"] == "joined" and line["t"] > lost
        )
        between = [line["updates"] for line in run.history("progress") if lost <= line["t"] <= back]
        assert between == sorted(set(between)), "the other worker went on all the time"


@pytest.mark.slow
def test_restarts_of_a_worker_that_dies_before_it_joins_are_counted_too(tmp_path: Path) -> None:
    args = {"stillborn": 2}
    with Counting(tmp_path, 8, args=args) as run:
        run.until("both are there", lambda: (status := run.status()) and status.workers_seen == 2)
        assert run.finish() == 0, run.words()
        assert run.summary().restarts["worker"] == 2


@pytest.mark.slow
def test_workers_join_and_leave_while_updates_keep_coming(tmp_path: Path) -> None:
    with Counting(tmp_path) as run:
        run.until_updates(30)
        guests = [guest(run), guest(run)]
        looks = [run.until_updates(31).updates]

        def running() -> set[int]:
            """Who is a member; looks at least half a second after the last time whether updates have come."""
            time.sleep(0.5)
            status = run.status()
            assert status is not None
            looks.append(status.updates)
            return {worker.index for worker in status.workers if worker.state == "running"}

        run.until("two more workers have joined", lambda: running() == {0, 1, 2, 3})
        run.until("they are listed", lambda: {"worker-2", "worker-3"} < set(run.rows()))
        run.until("it works", lambda: run.metrics("worker-3")["asgd_worker_steps_total"] > 0)
        run.signal("worker-0", signal.SIGTERM)
        run.signal("worker-3", signal.SIGINT)
        run.until("two workers have left", lambda: running() == {1, 2})
        run.until_says("worker-0 has left (it was told to)")
        running()
        run.until(
            "they are not listed any more",
            lambda: _ended(guests) and not {"worker-0", "worker-3"} & set(run.rows()),
        )
        assert all(later > earlier for earlier, later in pairwise(looks)), looks
        assert run.interrupt() == 130, run.words()
        assert sorted(process.wait(60) for process in guests) == [0, 143], (
            "one ended with the job, one before"
        )
        summary, model = run.summary(), run.model()
        assert (summary.restarts["worker"], summary.workers_lost, summary.workers_seen) == (0, [], 4)
        # What the leaving workers had pushed is in both shards, whole: nothing was torn.
        assert np.array_equal(model["first"], model["second"])
        assert model["first"].sum() == summary.samples


def guest(run: Counting) -> warm.AnyProcess:
    """One more worker, as a person would start it."""
    environ = os.environ | {"ASGD_RUN_FOLDER": str(run.output)}
    with (run.folder / "guests.log").open("ab") as log:
        return warm.start(["worker", "--join", str(run.output)], log, log, cwd=HERE, env=environ)


@pytest.mark.slow
def test_a_run_whose_workers_were_all_told_to_leave_ends(tmp_path: Path) -> None:
    with Counting(tmp_path, workers=1) as run:
        run.until_updates(5)
        run.signal("worker-0", signal.SIGTERM)
        assert run.wait() == 0, run.words()
        assert run.summary().stop_reason == "stopped"


@pytest.mark.slow
def test_a_worker_that_froze_is_dropped_and_comes_back_and_none_of_its_pushes_counts_twice(
    tmp_path: Path,
) -> None:
    with Counting(tmp_path) as run:
        run.until_updates(60)
        frozen = run.signal("worker-1", signal.SIGSTOP)

        def state() -> str:
            status = run.status()
            return [w.state for w in status.workers if w.index == 1][-1] if status else ""

        run.until("it is given up", lambda: state() == "lost")
        at = run.until_updates(1).updates
        run.until_updates(at + 30)
        os.kill(frozen, signal.SIGCONT)
        run.until("it is back", lambda: state() == "running")
        run.until_updates(at + 60)
        assert run.pid("worker-1") == frozen, "the same process, not a new one"
        assert run.interrupt() == 130, run.words()
        summary, model = run.summary(), run.model()
        # Every accepted push is in the weights exactly once, in both shards.
        assert np.array_equal(model["first"], model["second"])
        assert model["first"].sum() == summary.samples


def _restarts(run: Run) -> int:
    status = run.status()
    return status.restarts["worker"] if status else 0


def _ended(processes: list[warm.AnyProcess]) -> bool:
    """Whether any has; each is asked, for that lets it go."""
    return sum(process.poll() is not None for process in processes) > 0
