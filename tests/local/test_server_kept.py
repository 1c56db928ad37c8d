"""Parameter servers that are killed and go on from what they kept in memory: few updates are lost, each is counted.

The counters in the weights tell, as in `test_server_faults.py`. There is a checkpoint of the start and no later one, so
whatever is there after a restart came from memory.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from asgd.server.saves.in_memory import read
from tests import warm
from tests.local.run import Counting
from tests.local.test_server_faults import acknowledged, until_term


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which servers keep what they hold."""
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setenv("ASGD_MEMORY", str(folder))
    return folder


def version_kept(folder: Path, shard: int) -> int:
    found = [read(path) for path in folder.glob(f"shard-{shard}-of-2-term-*-[ab]")]
    return max((int(one.meta["version"]) for one in found if one), default=0)


def kill(run: Counting, folder: Path, shard: int) -> int:
    """kill -9; how many updates its workers had acknowledged that were not in memory."""
    run.until("the round of the start is stored", run.manifests)
    run.until("there is a copy of some updates", lambda: version_kept(folder, shard) > 10)
    pid = run.signal(f"server-{shard}", signal.SIGSTOP)
    time.sleep(1)  # Answers that have left the server still arrive.
    lost = acknowledged(run, shard) - version_kept(folder, shard)
    os.kill(pid, signal.SIGKILL)
    run.until("it is back", lambda: run.rows().get(f"server-{shard}", {}).get("pid") not in (None, pid))
    return lost


@pytest.mark.slow
def test_a_killed_shard_comes_back_from_memory_and_what_it_lost_is_counted_exactly(
    tmp_path: Path, kept: Path
) -> None:
    with Counting(tmp_path, 10, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(60)
        lost = kill(run, kept, 1)
        until_term(run, 1, 2)
        assert len(run.manifests()) == 1, "nothing but the checkpoint of the start"
        run.pace(0.02)
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.epochs) == ("epochs", 10.0)
        assert (summary.lost_updates, summary.restarts["server"]) == (lost, 1)
        assert np.array_equal(model["first"], np.full(512, 10.0))
        refused = summary.refused.get("rollback", 0)
        assert 10 * 512 - model["second"].sum() == 8 * (lost + refused)


@pytest.mark.slow
def test_when_shard_0_comes_back_from_memory_the_epochs_are_complete_and_repeats_are_counted(
    tmp_path: Path, kept: Path
) -> None:
    with Counting(tmp_path, 10, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(60)
        lost = kill(run, kept, 0)
        until_term(run, 0, 2)
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.restarts["server"]) == ("epochs", 1)
        assert summary.lost_updates == lost
        assert model["first"].min() >= 10
        again = model["second"].sum() - 10 * 512
        assert again == summary.revisited_samples + 8 * summary.refused.get("rollback", 0)
        assert summary.epochs == pytest.approx(10.0)


@pytest.mark.slow
def test_losses_of_two_deaths_add_up_in_memory(tmp_path: Path, kept: Path) -> None:
    with Counting(tmp_path, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(40)
        lost = kill(run, kept, 1)
        until_term(run, 1, 2)
        before = version_kept(kept, 1)
        run.until("its successor keeps a copy too", lambda: version_kept(kept, 1) > before)
        lost += kill(run, kept, 1)
        until_term(run, 1, 3)
        run.until_updates(run.until_updates(1).updates + 10)
        assert run.interrupt() == 130, run.words()
        assert run.summary().lost_updates == lost


@pytest.mark.slow
def test_a_run_that_went_on_from_memory_is_replayed_to_the_same_bits(tmp_path: Path, kept: Path) -> None:
    with Counting(tmp_path, 4, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(60)
        kill(run, kept, 1)
        until_term(run, 1, 2)
        assert run.finish() == 0, run.words()
        done = warm.run(["replay", str(run.output)], cwd=Path(__file__).parent)
        assert done.returncode == 0, done.stdout + done.stderr
