"""A worker that sleeps for ever in a batch: named, given up, started again, and no sample is lost or done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asgd.spec.status import Status
from tests.local.run import Counting

DEADLINE = 6


@pytest.mark.slow  # `make test` has it in virtual time: tests/checks/test_hung_workers.py
@pytest.mark.parametrize("algorithm", ["asgd", "sync"])
def test_a_worker_that_hangs_in_its_20th_batch_is_replaced_and_every_sample_is_visited_once_an_epoch(
    tmp_path: Path, algorithm: str
) -> None:
    workers = {"replicas": 2, "progressDeadlineSeconds": DEADLINE}
    run = Counting(tmp_path, 12, workers=workers, args={"hang": 20}, algorithm={"name": algorithm})
    with run:

        def stalled() -> Status | None:
            status = run.status()
            return status if status and any(w.state == "stalled" for w in status.workers) else None

        status = run.until("it is named", stalled)
        assert status is not None
        worker = next(worker for worker in status.workers if worker.state == "stalled")
        assert (worker.index, worker.samples_held > 0) == (1, True)
        assert worker.idle_seconds > DEADLINE / 2
        hung = run.pid("worker-1")
        run.until_says(f"worker 1 holds {worker.samples_held} samples and has pushed nothing for")
        run.until_says("worker-1 ended with exit code 75; it starts again")
        run.until(
            "another process takes its place",
            lambda: run.rows().get("worker-1", {}).get("pid") not in (None, hung),
        )
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.epochs, summary.samples) == ("epochs", 12.0, 12 * 512)
        assert (summary.revisited_samples, summary.restarts["worker"], summary.workers_lost) == (0, 1, [1])
        # Each visit of a sample adds 1 to its weight, and in a round of two workers a half.
        least = 12.0 if algorithm == "asgd" else 6.0
        assert np.all((model["first"] >= least) & (model["first"] <= 12.0))
        assert np.array_equal(model["first"], model["second"])
        (said,) = summary.notices
        assert f"gave up    {said.text}" in run.said
        log = (run.output / "logs" / "worker-1.log").read_text(encoding="utf-8")
        assert "this process was given up: worker 1 holds" in log
        assert "in loss" in log, "the log shows where it hung"
        ends = [line["event"] for line in run.history("member") if line["worker"] == 1]
        assert ends == ["joined", "hung", "joined", "left"]
