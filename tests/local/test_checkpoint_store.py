"""A checkpoint store that fails while a run goes on: training does not care, but the user is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.local.run import Counting

pytestmark = pytest.mark.slow


def failing(run: Counting) -> str:
    """Waits until the status says that checkpoints fail; what it says."""

    def look() -> str:
        status = run.status()
        return status.checkpoint_error if status else ""

    return run.until("the status says that the checkpoint failed", look)


def test_when_the_store_is_gone_training_goes_on_and_the_end_says_so(tmp_path: Path) -> None:
    with Counting(tmp_path, 3, checkpoint={"everySeconds": 0.5}) as run:
        run.until("there is a checkpoint", lambda: len(run.manifests()) >= 2)
        store = run.output / "checkpoints"
        store.rename(tmp_path / "saved")
        store.touch()
        assert "was not written" in failing(run)
        run.until_says("warning: checkpoint")
        before = run.until_updates(1).updates
        run.until_updates(before + 10)
        assert run.finish() == 75, "the weights are nowhere"
        assert run.summary().stop_reason == "epochs"
        assert run.summary().restarts == {"worker": 0, "server": 0}
        assert "Traceback" not in run.said + run.log("server-0") + run.log("server-1")
        assert "model.safetensors" in run.said.splitlines()[-1], (
            "what is missing is the last thing that is said"
        )


def test_when_the_store_works_again_checkpoints_go_on(tmp_path: Path) -> None:
    with Counting(tmp_path, 4, checkpoint={"everySeconds": 0.5}) as run:
        run.until("there is a checkpoint", lambda: len(run.manifests()) >= 2)
        store = run.output / "checkpoints"
        store.rename(tmp_path / "saved")
        store.touch()
        failing(run)
        store.unlink()
        (tmp_path / "saved").rename(store)
        run.until("checkpoints work again", lambda: (status := run.status()) and not status.checkpoint_error)
        assert run.finish() == 0, run.words()
        assert np.array_equal(run.model()["first"], np.full(512, 4.0))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 256 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_when_the_store_is_full_training_goes_on_and_the_last_good_checkpoint_stays(
    tmp_path: Path, tiny: Path
) -> None:
    store = tiny / "store"
    with Counting(tmp_path, 3, checkpoint={"uri": str(store), "everySeconds": 0.5}) as run:
        run.until("there is a checkpoint", lambda: list(store.glob("*/manifest.json")))
        with (tiny / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(512)):
                    pass
            except OSError:
                pass
        assert "No space left" in failing(run)
        assert run.interrupt() == 130, run.words()
        assert "model.safetensors is of update" in run.stderr
        assert run.summary().stop_reason == "interrupted"
        (tiny / "filler").unlink()
        run.start("--set", "checkpoint.restore=Latest")
        assert run.finish() == 0, run.words()
        assert np.array_equal(run.model()["first"], np.full(512, 3.0)), "what was saved last went on"


def fill(place: Path) -> None:
    with (place / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(bytes(512)):
                pass
        except OSError:
            return


def test_a_full_disk_under_all_files_of_a_run_stops_no_training_and_is_said_until_it_ends(
    tmp_path: Path, tiny: Path
) -> None:
    """History, logs, recording, processes.json and checkpoints; a server is killed meanwhile."""
    run = Counting(tmp_path, 20, checkpoint={"everySeconds": 0.5}, args={"talk": True})
    run.output = tiny / "out"
    with run:
        run.until("there is a checkpoint", lambda: len(run.manifests()) >= 2)
        fill(tiny)
        run.until_says("history.jsonl cannot be written: No space left on device; training goes on")
        run.until_says("No space left on device; training goes on without it")
        before = run.until_updates(1).updates
        run.until_updates(before + 20)
        run.signal("server-1", signal.SIGKILL)
        run.until_says("server-1 ended by signal SIGKILL; it starts again")
        before = run.until_updates(1).updates
        fill(tiny)
        run.until_updates(before + 20)
        (tiny / "filler").unlink()
        run.until_says("the run's files are written again, after")
        run.until_says("checkpoints work again, after")
        subprocess.run(["mount", "-o", "remount,size=4m", str(tiny)], check=True)
        assert run.finish() == 0, run.words()
        summary = run.summary()
        assert (summary.stop_reason, summary.restarts) == ("epochs", {"worker": 0, "server": 1})
        assert not summary.replayable and "recording" in summary.not_replayable
        assert run.history("end"), "the file goes on"
        assert "Traceback" not in run.said + run.log("server-0") + run.log("server-1") + run.log("worker-0")


def test_a_server_that_comes_back_without_its_store_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    with Counting(tmp_path, parameterServer={"shards": 2, "backoffLimit": 2}) as run:
        run.until_updates(5)
        store = run.output / "checkpoints"
        store.rename(tmp_path / "saved")
        store.touch()
        run.signal("server-1", signal.SIGKILL)
        assert run.wait() == 75, run.words()
        last = run.stderr.strip().splitlines()[-1]
        assert last.startswith("asgd: ")
        assert "checkpoint" in last
        assert "Traceback" not in run.said
