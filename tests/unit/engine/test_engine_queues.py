"""What Kueue's Workloads say of a Job that waits; the documents are those of a real Kueue, shortened."""

from __future__ import annotations

from typing import Any

from asgd_operator.engine.queues import why

SHORT = (
    "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor any, 1 more needed"
)
PREEMPTED = (
    "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue"
)
RESERVED = "Quota reserved in ClusterQueue research"


def condition(kind: str, message: str = "", status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "R", "message": message}


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
