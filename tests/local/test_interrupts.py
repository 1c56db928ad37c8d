"""Ctrl-C and SIGTERM: once stops in order and can be continued, twice ends at once; nothing is left behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.local.run import Counting


def test_an_interrupted_run_continues_where_it_was_and_visits_each_sample_exactly_once(
    tmp_path: Path,
) -> None:
    with Counting(tmp_path, 6) as run:
        run.until_updates(100)
        assert run.interrupt() == 130, run.words()
        first = run.summary()
        assert first.stop_reason == "interrupted"
        assert run.manifests()[-1]["updates"] == first.updates >= 100
        assert np.array_equal(run.model()["first"], run.model()["second"])
        assert run.model()["first"].sum() == first.samples
        assert not run.orphans()
        seconds = first.seconds

        run.start()
        assert run.wait() == 2, "without being told to continue, a run is not written over"
        assert run.summary() == first

        run.start("--set", "checkpoint.restore=Latest")
        assert run.until_updates(1).updates >= first.updates, "it starts from the same update"
        assert run.finish() == 0, run.words()
        whole, model = run.summary(), run.model()
        assert (whole.stop_reason, whole.epochs, whole.samples) == ("epochs", 6.0, 6 * 512)
        assert (whole.updates, whole.revisited_samples, whole.lost_updates) == (6 * 512 // 8, 0, 0)
        assert whole.seconds > seconds
        assert np.array_equal(model["first"], np.full(512, 6.0))
        assert np.array_equal(model["second"], np.full(512, 6.0))
        assert len(run.history("run")) == 2
        for field in ("t", "updates", "samples"):
            values = [line[field] for line in run.history("progress")]
            assert values == sorted(values), f"the history's {field} goes on"

        run.start("--set", "checkpoint.restore=Latest")
        assert run.wait() == 0, run.words()
        assert run.summary().updates == whole.updates, "a run that is done stays done"


@pytest.mark.slow
def test_sigterm_stops_in_order_as_ctrl_c_does(tmp_path: Path) -> None:
    with Counting(tmp_path) as run:
        run.until_updates(10)
        run.signal_command(signal.SIGTERM)
        assert run.finish() == 130, run.words()
        assert run.summary().stop_reason == "interrupted"
        assert run.manifests()[-1]["updates"] == run.summary().updates


@pytest.mark.slow
def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    with Counting(tmp_path) as run:
        run.until_updates(10)
        private = Path(run.connection()["ASGD_KEYS"]).parent
        # No worker can finish its push now, so that the orderly end never comes.
        run.signal("server-0", signal.SIGSTOP)
        run.signal_command(signal.SIGINT)
        time.sleep(1)
        run.signal_command(signal.SIGINT)
        assert run.wait(30) == 130, run.words()
        assert not run.orphans()
        assert not private.exists(), "keys and sockets are gone"
        assert not (run.output / "connect.json").exists()
        assert run.rows() == {}


@pytest.mark.slow
def test_a_signal_before_training_has_begun_ends_the_command(tmp_path: Path) -> None:
    with Counting(tmp_path) as run:
        run.until("it looks at the job", (run.output / "logs").exists)
        run.signal_command(signal.SIGINT)
        assert run.wait() == 130, run.words()
        assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_when_the_command_is_killed_outright_its_processes_end_by_themselves(tmp_path: Path) -> None:
    with Counting(tmp_path) as run:
        run.until_updates(10)
        run.signal_command(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        deadline = time.monotonic() + 60
        while run.orphans() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not run.orphans()
