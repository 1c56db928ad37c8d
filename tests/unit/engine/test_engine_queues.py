"""What Kueue's Workloads say of a Job that waits; the documents are those of a real Kueue, shortened."""

from __future__ import annotations

from typing import Any

from asgd_operator.engine.queues import held, why
from asgd_operator.plan.model import Held

SHORT = (
    "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor any, 1 more needed"
)
PREEMPTED = (
    "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue"
)
RESERVED = "Quota reserved in ClusterQueue research"


def condition(kind: str, message: str = "", status: str = "True", at: str = "12:00:00") -> dict[str, str]:
    when = f"2026-11-01T{at}Z"
    return {"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": when}


def workload(*conditions: dict[str, str], active: bool = True, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "job-x-worker-684cf"},
        "spec": {"active": active, "queueName": "team"},
        "status": {"conditions": [*conditions], **status},
    }


def test_a_workload_without_quota_says_what_it_is_short_of() -> None:
    assert why(workload(condition("QuotaReserved", SHORT, "False"))) == SHORT


def test_one_that_was_taken_back_says_by_whom_though_it_has_another_reason_to_wait_by_now() -> None:
    found = why(workload(condition("QuotaReserved", SHORT, "False"), condition("Evicted", PREEMPTED)))
    assert found == PREEMPTED


def test_one_that_is_admitted_or_over_says_nothing() -> None:
    assert why(workload(condition("QuotaReserved", RESERVED), condition("Admitted"))) == ""
    assert why(workload(condition("QuotaReserved", SHORT, "False"), condition("Finished"))) == ""
    assert why(workload()) == "", "Kueue has not looked at it yet"


def test_one_that_was_taken_back_and_has_come_again_says_nothing_of_it() -> None:
    again = workload(condition("Evicted", PREEMPTED, "False"), condition("QuotaReserved", RESERVED))
    assert why(again) == ""


def test_one_that_has_quota_and_waits_for_checks_names_them() -> None:
    checks = [
        {"name": "room", "state": "Pending", "message": "nodes are being made"},
        {"name": "cost", "state": "Ready"},
        {"name": "law", "state": "Retry"},
    ]
    found = why(workload(condition("QuotaReserved", RESERVED), admissionChecks=checks))
    assert found == "admission check room is Pending: nodes are being made; admission check law is Retry"


def test_one_that_is_deactivated_says_which_field_to_look_at() -> None:
    found = why(workload(condition("Evicted", "The workload is deactivated"), active=False))
    assert found == "somebody, or Kueue, has set spec.active of Workload job-x-worker-684cf to false"


# A job that asks for more has a Workload for each number.
GRANTED = workload(condition("QuotaReserved", RESERVED), condition("Admitted"))
ASKED = workload(condition("QuotaReserved", SHORT, "False"))


def test_of_a_job_that_asks_for_more_the_workload_that_waits_is_told() -> None:
    assert held([GRANTED, ASKED]) == Held(SHORT)
    assert held([GRANTED]) == Held()


def test_one_that_has_quota_and_waits_for_a_check_is_not_refused() -> None:
    checks = [{"name": "room", "state": "Pending", "message": "nodes are being made"}]
    prepared = workload(condition("QuotaReserved", RESERVED), admissionChecks=checks)
    assert held([GRANTED, prepared]).reserved
    assert not held([GRANTED]).reserved


def test_quota_that_was_taken_back_from_a_job_that_asks_for_more_is_seen() -> None:
    evicted = workload(
        condition("QuotaReserved", RESERVED),
        condition("Evicted", PREEMPTED),
        condition("Finished", "The workload slice is out of sync with its parent job", at="12:05:00"),
    )
    earlier = workload(condition("Finished", "Replaced to accommodate a workload", at="12:03:00"))
    later = workload(condition("Finished", "Replaced to accommodate a workload", at="12:07:00"))
    assert held([earlier, evicted, ASKED]) == Held(SHORT, evicted=True)
    assert not held([evicted, later, ASKED]).evicted, (
        "it was let go again since, and makes room for its successor"
    )
    assert not held([earlier, ASKED]).evicted, "its successor is admitted next"
    assert not held([evicted, GRANTED]).evicted
