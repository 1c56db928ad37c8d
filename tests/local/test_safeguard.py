"""Liars in a real run: Safeguard names them, and nobody else, whoever joins when and whoever stands still."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.local.run import HERE, Run

EXAMPLE = HERE.parents[1] / "examples/strategies/safeguard.yaml"
LIARS = [6, 7, 8, 9]
ATTACKS = ("sign-flip", "label-flip", "inner", "scaled")
PATIENCE_SECONDS = 400.0
"""Ten workers on two cores, beside whatever else the machine does."""


def lied_to(folder: Path, updates: int) -> Run:
    """The example with four liars among its ten workers, for `updates` updates."""
    spec: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["spec"]
    how = [{"attack": attack, "workers": [liar]} for attack, liar in zip(ATTACKS, LIARS, strict=True)]
    more = {"chaos": {"byzantine": how}, "parameterServer": {"shards": 2}, "stopAfter": {"updates": updates}}
    return Run(folder, spec | more)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_safeguard_names_the_liars_of_a_real_run_and_nobody_else(tmp_path: Path) -> None:
    with lied_to(tmp_path, 4000) as run:
        assert run.wait(2 * PATIENCE_SECONDS) == 0, run.words()
        assert run.summary().rejected_workers == LIARS, run.words()
        assert "rejected   workers 6, 7, 8, 9: safeguard did not listen to what they sent" in run.said
        assert "worker-6 is not listened to for a time" in run.said
        assert "this job is a test of its strategy" in run.said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_honest_worker_that_stood_still_for_a_while_is_not_rejected(tmp_path: Path) -> None:
    with lied_to(tmp_path, 1_000_000) as run:

        def state() -> str:
            status = run.status()
            return {w.index: w.state for w in status.workers}.get(2, "") if status else ""

        def updates(more: int) -> None:
            """Waits for that many."""
            status = run.until("shard 0 answers", run.status, PATIENCE_SECONDS)
            goal = status.updates + more
            run.until(
                f"{goal} updates are in",
                lambda: (now := run.status()) and now.updates >= goal,
                PATIENCE_SECONDS,
            )

        run.until("it trains", lambda: state() == "running", PATIENCE_SECONDS)
        updates(300)
        frozen = run.signal("worker-2", signal.SIGSTOP)
        run.until("it is given up", lambda: state() == "lost", PATIENCE_SECONDS)
        updates(300)
        os.kill(frozen, signal.SIGCONT)
        run.until("it is back", lambda: state() == "running", PATIENCE_SECONDS)
        updates(1000)
        assert run.pid("worker-2") == frozen, "the same process, not a new one"
        run.signal_command(signal.SIGINT)
        assert run.wait(PATIENCE_SECONDS) == 130, run.words()
        assert set(run.summary().rejected_workers) <= set(LIARS), run.words()
