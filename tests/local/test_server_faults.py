"""Parameter servers that are killed: restarted with a higher term, found again by the workers, their losses counted.

They begin from checkpoints here, as in pods; `test_server_kept.py` has those that begin from memory.

The counters in the weights tell everything. Of two shards each keeps one copy; a sample's counter on a shard is the
number of pushes in that shard's surviving history that named it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.effort import first
from tests.local.run import Counting


@pytest.fixture(autouse=True)
def nothing_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGD_MEMORY", "")


def acknowledged(run: Counting, shard: int) -> int:
    """The highest version of a shard that any worker has got an answer from."""
    name = f'asgd_worker_pulled_version{{shard="{shard}"}}'
    return int(max(run.metrics(f"worker-{index}").get(name, 0) for index in range(2)))


def kill(run: Counting, shard: int) -> int:
    """kill -9; how many updates its workers had acknowledged that were not in the newest checkpoint."""
    run.until("the round of the start is stored", run.manifests)
    pid = run.signal(f"server-{shard}", signal.SIGSTOP)
    # NB: answers that have left the server still arrive, and so does the manifest of a round under way.
    time.sleep(1)
    lost = acknowledged(run, shard) - int(run.manifests()[-1]["parts"][shard]["version"])
    os.kill(pid, signal.SIGKILL)
    run.until(
        f"shard {shard} is back", lambda: run.rows().get(f"server-{shard}", {}).get("pid") not in (None, pid)
    )
    return lost


def until_term(run: Counting, shard: int, term: int) -> None:
    def look() -> bool:
        status = run.status()
        return status is not None and status.terms[shard] >= term and status.updates > 0

    run.until(f"shard {shard} has term {term}", look)


@pytest.mark.parametrize("seconds", first([0.5, 3600]))
def test_a_killed_shard_comes_back_and_what_it_lost_is_counted_exactly(
    tmp_path: Path, seconds: float
) -> None:
    with Counting(tmp_path, 10, checkpoint={"everySeconds": seconds}) as run:
        run.until_updates(60)
        if seconds < 1:
            run.until("there are checkpoints", lambda: len(run.manifests()) >= 2)
        lost = kill(run, 1)
        until_term(run, 1, 2)
        run.pace(0.02)
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.epochs) == ("epochs", 10.0)
        assert summary.lost_updates == lost
        assert seconds < 1 or lost >= 30, "with rare checkpoints much is lost"
        assert summary.restarts["server"] == 1
        # Shard 0 had no loss: every sample exactly ten times. Shard 1 lacks what it lost and refused as too new.
        assert np.array_equal(model["first"], np.full(512, 10.0))
        refused = summary.refused.get("rollback", 0)
        missing = 10 * 512 - model["second"].sum()
        assert missing == 8 * (summary.lost_updates + refused)
        assert f"lost {summary.lost_updates} update" in run.said
        assert [line["shard"] for line in run.history("server")] == [1]


@pytest.mark.parametrize("seconds", first([0.5, 3600], 0))
def test_when_shard_0_is_killed_the_epochs_are_still_complete_and_repeats_are_counted(
    tmp_path: Path, seconds: float
) -> None:
    with Counting(tmp_path, 10, checkpoint={"everySeconds": seconds}) as run:
        run.until_updates(60)
        if seconds < 1:
            run.until("there are checkpoints", lambda: len(run.manifests()) >= 2)
        lost = kill(run, 0)
        until_term(run, 0, 2)
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.restarts["server"]) == ("epochs", 1)
        assert summary.lost_updates == lost
        # Shard 0's history has every sample ten times at least; what is more was counted as visited again.
        assert model["first"].min() >= 10
        # Shard 1 kept the pushes that shard 0 lost or refused as too new, so there their samples stand twice.
        again = model["second"].sum() - 10 * 512
        assert again == summary.revisited_samples + 8 * summary.refused.get("rollback", 0)
        assert summary.revisited_samples <= 8 * (lost + 2), (
            "at most what was lost, and a push on its way a worker"
        )
        assert summary.epochs == pytest.approx(10.0)


@pytest.mark.slow
def test_each_checkpoint_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    with Counting(tmp_path, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(5)
        for rounds in (1, 2, 3):
            run.until(f"there are {rounds} checkpoints", lambda: len(run.manifests()) == rounds)  # noqa: B023
            updates = run.manifests()[-1]["updates"]
            run.until_updates(updates + 5)
            run.command("save")
        assert run.interrupt() == 130, run.words()


@pytest.mark.slow
def test_losses_of_two_deaths_without_a_checkpoint_between_add_up(tmp_path: Path) -> None:
    with Counting(tmp_path, checkpoint={"everySeconds": 3600}) as run:
        run.until_updates(40)
        lost = kill(run, 1)
        until_term(run, 1, 2)
        run.until_updates(run.until_updates(1).updates + 20)
        lost += kill(run, 1)
        until_term(run, 1, 3)
        run.until_updates(run.until_updates(1).updates + 10)
        assert run.interrupt() == 130, run.words()
        assert run.summary().lost_updates == lost


@pytest.mark.slow
def test_a_shard_that_keeps_dying_ends_the_run_within_its_budget(tmp_path: Path) -> None:
    with Counting(tmp_path, parameterServer={"shards": 2, "backoffLimit": 1}) as run:
        run.until_updates(5)
        kill(run, 1)
        run.until("it serves again", lambda: run.rows().get("server-1", {}).get("metrics"))
        run.signal("server-1", signal.SIGKILL)
        assert run.wait() == 75
        assert (
            "server-1 ended by signal SIGKILL after 1 restarts (spec.parameterServer.backoffLimit)"
            in run.stderr
        )
        assert not run.orphans()


@pytest.mark.slow
def test_a_second_server_of_a_shard_fences_the_first_one_off_the_checkpoints(tmp_path: Path) -> None:
    with Counting(tmp_path, checkpoint={"everySeconds": 0.5}) as run:
        run.until("there are checkpoints", lambda: len(run.manifests()) >= 2)
        first = run.pid("server-1")
        os.kill(first, signal.SIGSTOP)
        intruder = run.process_by_hand("server", 1, {"ASGD_BIND": f"ipc://{tmp_path}/intruder"})
        terms = run.output / "checkpoints" / "terms" / "shard-1"
        run.until("it has claimed a term", lambda: len(list(terms.iterdir())) == 2)
        parts = {path: path.stat().st_mtime_ns for path in (run.output / "checkpoints").glob("*/shard-1-*")}
        os.kill(first, signal.SIGCONT)
        run.until_says("server-1 ended with exit code 75")
        assert "term 1 was replaced by term 2" in run.log("server-1")
        run.until("its successor writes with a term of its own", lambda: len(list(terms.iterdir())) == 3)
        saves = len(run.manifests())
        run.until("checkpoints go on", lambda: run.manifests()[-1]["save"] > saves + 2)
        late = [p for p in parts if p.exists() and p.stat().st_mtime_ns != parts[p]]
        assert not late, "the old server wrote once more"
        assert intruder.wait(60) == 75, "the successor fences it off too"
        assert run.interrupt() == 130, run.words()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8", "topk"])
def test_workers_that_pull_differences_go_on_with_a_restarted_shard(tmp_path: Path, name: str) -> None:
    """The shard has forgotten what they hold, so they get whole weights first; pushes are exact as ever."""
    with Counting(tmp_path, 6, codec={"pull": name}, checkpoint={"everySeconds": 0.5}) as run:
        run.until_updates(60)
        run.until("there are checkpoints", lambda: len(run.manifests()) >= 2)
        kill(run, 1)
        until_term(run, 1, 2)
        run.pace(0.02)
        assert run.finish() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert summary.stop_reason == "epochs" and summary.restarts["server"] == 1
        assert np.array_equal(model["first"], np.full(512, 6.0))
        assert summary.bytes_saved > summary.bytes_sent / 2
