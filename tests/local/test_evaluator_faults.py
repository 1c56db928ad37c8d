"""An evaluator that dies or never works does not end the training."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.local.run import Counting

pytestmark = pytest.mark.slow

NO_REST = {"everySeconds": 0.2}


def test_an_evaluation_that_fails_is_told_at_once_and_at_the_end_and_by_the_exit_code(tmp_path: Path) -> None:
    with Counting(tmp_path, 30, args={"crash": True}, evaluation=NO_REST, workers=1) as run:
        run.until_says("an evaluation failed: evaluate raised RuntimeError: this evaluation never works")
        assert run.finish() == 4, run.words()
        summary = run.summary()
        assert (summary.stop_reason, summary.epochs, summary.metrics) == ("epochs", 30.0, {})
        assert summary.evaluations_failed >= 1
        assert "this evaluation never works" in summary.evaluation_error
        assert "evaluation the last one failed" in run.said
        assert (run.output / "model.safetensors").exists(), "training is not lost"
        assert "RuntimeError" in run.log("evaluator-0"), "its log has the whole story"


def test_a_killed_evaluator_comes_back_and_measures_the_final_weights(tmp_path: Path) -> None:
    with Counting(tmp_path, 30, args={"evaluates": True}, evaluation=NO_REST, workers=1) as run:
        run.until("something was measured", lambda: (status := run.status()) and status.metrics)
        killed = run.signal("evaluator-0", signal.SIGKILL)
        run.until(
            "it is back",
            lambda: run.rows().get("evaluator-0", {}).get("metrics") and run.pid("evaluator-0") != killed,
        )
        assert run.finish() == 0, run.words()
        summary = run.summary()
        assert (summary.metrics, summary.metrics_at_updates) == ({"visits": 30.0}, summary.updates)
        assert run.history("evaluation")[-1]["metrics"] == {"visits": 30.0}


def test_an_evaluator_that_is_killed_for_good_is_counted_and_the_exit_code_says_so(tmp_path: Path) -> None:
    budget = {"replicas": 1, "backoffLimitPerIndex": 1}
    with Counting(tmp_path, 30, args={"evaluates": True}, evaluation=NO_REST, workers=budget) as run:
        run.until("something was measured", lambda: (status := run.status()) and status.metrics)
        killed = run.signal("evaluator-0", signal.SIGKILL)
        run.until(
            "it is back",
            lambda: run.rows().get("evaluator-0", {}).get("metrics") and run.pid("evaluator-0") != killed,
        )
        run.signal("evaluator-0", signal.SIGKILL)
        run.until_says("the evaluator has ended again and again, and is given up")
        assert run.finish() == 4, run.words()
        summary = run.summary()
        assert (summary.stop_reason, summary.epochs, summary.evaluations_failed) == ("epochs", 30.0, 1)
        assert "given up" in summary.evaluation_error and summary.restarts["evaluator"] == 1
        assert "evaluation the last one failed (1 did)" in run.said


def test_an_evaluation_that_never_ends_is_named_and_another_evaluator_takes_its_place(tmp_path: Path) -> None:
    policy, args = {"progressDeadlineSeconds": 4}, {"evaluates": True, "stuck": 2}
    with Counting(tmp_path, 30, args=args, evaluation=NO_REST, workers=1, runPolicy=policy) as run:
        run.until_says("the evaluator has told nothing for 4 s: it has to end")
        run.until_says("evaluator-0 ended with exit code 75; it starts again")
        assert run.finish() == 0, run.words()
        summary = run.summary()
        assert (summary.metrics, summary.metrics_at_updates) == ({"visits": 30.0}, summary.updates)
        assert "in evaluate" in run.log("evaluator-0"), "the log shows where it hung"
