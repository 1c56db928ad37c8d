"""Early stopping (`stopAfter.patience`): what counts as an improvement, and what a restart or a resumed run keeps."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from asgd.report.summary import describe, summarize
from asgd.server.coordinator import Coordinator
from asgd.server.facts import JobFacts
from asgd.server.view import build_status
from asgd.wire.reports import ShardReport
from tests.checks.harness import job_spec
from tests.unit.server.test_coordinator import job


def rule(**more: Any) -> dict[str, Any]:
    return {"patience": {"metric": "loss", "mode": "min", "evaluations": 3, **more}}


def evaluate(chief: Coordinator, *losses: float, start: int = 1) -> list[str]:
    """The stop reason after each evaluation, ten updates apart."""
    reasons = []
    for number, loss in enumerate(losses, start):
        chief.evaluated(10 * number, {"loss": loss}, False, float(number))
        reasons.append(chief.stop_reason)
    return reasons


@pytest.mark.parametrize(
    ("more", "losses", "stops_after"),
    [
        ({}, [1.0, 0.9, 0.95, 0.9, 0.91], 5),
        ({}, [1.0, 1.1, 1.2, 0.99, 1.1, 1.1, 1.1], 7),
        ({"minDelta": 0.1}, [1.0, 0.95, 0.92, 0.91], 4),
        ({}, [math.nan, math.inf, math.nan], 3),
        ({"mode": "max"}, [1.0, 2.0, 3.0, 4.0, 3.9, 3.9, 3.9], 7),
        ({"evaluations": 1}, [1.0, 1.0], 2),
    ],
)
def test_the_job_stops_with_the_evaluation_that_is_one_too_many(
    more: dict[str, Any], losses: list[float], stops_after: int
) -> None:
    chief = job(stopAfter=rule(**more))
    assert evaluate(chief, *losses) == [""] * (stops_after - 1) + ["patience"]


def test_failed_evaluations_other_metrics_and_weights_that_were_evaluated_before_do_not_count() -> None:
    chief = job(stopAfter=rule() | {"updates": 1000})
    evaluate(chief, 1.0, 1.1)
    for _ in range(5):
        chief.evaluated(20, {"loss": 1.1}, False, 9.0)
        chief.evaluated(30, {}, False, 9.0, "evaluate raised: it does")
        chief.evaluated(30, {"accuracy": 0.5}, False, 9.0)
    assert chief.stop_reason == ""
    assert evaluate(chief, 1.1, 1.1, start=4) == ["", "patience"]


def test_the_summary_says_in_words_what_has_not_improved_and_on_which_value() -> None:
    chief = job(stopAfter=rule(minDelta=0.001))
    evaluate(chief, 0.5, 0.6, 0.7, 0.8)
    status = build_status(chief, JobFacts("digits", [ShardReport()], [1]), 9.0)
    lines = describe(summarize(status, chief.spec))
    why = "loss has not improved on 0.5 of update 10 by more than 0.001 for 3 evaluations"
    assert any(line.endswith(f"the evaluations got no better; {why}") for line in lines), lines


@pytest.mark.parametrize(("run", "then"), [("one", ["patience"]), ("another", ["", "", "patience"])])
def test_a_restart_goes_on_counting_and_a_resumed_run_counts_anew_from_the_best_value(
    run: str, then: list[str]
) -> None:
    chief = Coordinator(job_spec(stopAfter=rule()), "one")
    evaluate(chief, 0.5, 0.6, 0.7)
    after = Coordinator(job_spec(stopAfter=rule()), run)
    after.load(json.loads(json.dumps(chief.state(9.0))))
    assert evaluate(after, *[0.6] * len(then), start=4) == then
    assert after.patience.best == 0.5


def test_a_rule_that_was_edited_while_the_job_runs_holds_from_the_next_evaluation_on() -> None:
    chief = job(stopAfter=rule(evaluations=100))
    evaluate(chief, 0.5, 0.6, 0.7, 0.8)
    chief.change(job_spec(stopAfter=rule(evaluations=2)))
    assert evaluate(chief, 0.9, start=5) == ["patience"]
    other = job(stopAfter=rule(evaluations=100))
    evaluate(other, 0.5, 0.6)
    other.change(job_spec(stopAfter=rule(evaluations=2, mode="max")))
    assert evaluate(other, 0.6, 0.5, 0.5, start=5) == ["", "", "patience"], "another mode begins anew"


def test_a_job_that_only_patience_can_end_does_not_wait_for_ever_for_evaluations_that_fail() -> None:
    chief = job(stopAfter=rule())
    for at in range(3):
        chief.evaluated(at, {}, False, float(at), "evaluate raised: it does")
    assert chief.stop_reason == "unevaluated"
