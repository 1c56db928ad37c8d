"""A job that the API server took and this operator cannot read: refused before its start, and never while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asgd_operator import __version__
from asgd_operator.constants import Condition, Phase
from asgd_operator.engine import views
from asgd_operator.engine.reading import read
from asgd_operator.plan import plan
from asgd_operator.plan.actions import Plan
from tests.unit.engine.test_engine_reconcile import body
from tests.unit.plan.builders import condition, make_job, names, told

OLDER = f"This operator, version {__version__}, is older than the CRD"
NEW_FIELD = {"optimizer": {"name": "sgd", "lookahead": 5}}
NEW_TYPE = {"workers": {"replicas": {"from": 1, "to": 4}}}


def seen_by(started: bool, **spec: Any) -> Any:
    return read(views.job(body("x", **spec)), started=started)


def running_with(unread: str, *, known: bool) -> Plan:
    scene = make_job().running().with_report(updates=10).after(60)
    o = replace(scene.observed(), unread=unread)
    return plan(o if known else replace(o, spec=None, wanted=()))


def test_before_the_start_it_is_refused_and_the_unknown_field_is_named() -> None:
    found = seen_by(False, **NEW_FIELD)
    assert found.job is None
    assert found.problem.reason == "InvalidSpec"
    says = f"{OLDER} and does not know spec.optimizer.lookahead; give operator and CRD one version."
    assert found.problem.message == says


def test_a_running_one_goes_on_by_what_is_known_of_it() -> None:
    found = seen_by(True, **NEW_FIELD)
    assert found.problem is None
    assert found.job.spec.optimizer.name == "sgd"
    assert found.job.document["spec"]["optimizer"]["lookahead"] == 5, "as its children were rendered"
    assert found.unread == (
        f"{OLDER} and does not know spec.optimizer.lookahead. The running job goes on without it; upgrade the operator."
    )
    planned = running_with(found.unread, known=True)
    assert planned.status is not None
    assert planned.status["phase"] == Phase.RUNNING
    assert condition(planned, Condition.ACCEPTED)["status"] == "True"
    degraded = condition(planned, Condition.DEGRADED)
    assert (degraded["status"], degraded["reason"]) == ("True", "OperatorOutdated")
    assert degraded["message"] == found.unread
    assert "OperatorOutdated" in told(planned)


def test_a_running_one_that_cannot_be_read_at_all_keeps_its_phase_and_is_left_alone() -> None:
    found = seen_by(True, **NEW_TYPE)
    assert found.job is None
    assert found.unread.startswith(f"{OLDER} or newer, and cannot read the job: ")
    before = make_job().running().seen.status
    planned = running_with(found.unread, known=False)
    assert planned.status is not None
    assert names(planned.actions) == []
    assert planned.status["phase"] == Phase.RUNNING
    kept = ("startTime", "runningTime")
    assert {key: planned.status[key] for key in kept} == {key: before[key] for key in kept}
    assert planned.status["workers"]["desired"] == before["workers"]["desired"]
    for kind in (Condition.ACCEPTED, Condition.RUNNING, Condition.SERVERS_READY):
        assert condition(planned, kind)["status"] == "True"
    assert condition(planned, Condition.DEGRADED)["reason"] == "OperatorOutdated"


def test_it_says_so_no_more_once_the_operator_is_upgraded() -> None:
    told_before = running_with("It cannot be read.", known=True).status
    scene = make_job().running().with_report(updates=10).seeing(status=told_before).after(60)
    assert condition(scene.plan(), Condition.DEGRADED)["reason"] == "AsExpected"


def test_a_job_beyond_all_bounds_is_not_taken_for_a_newer_one() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    found = seen_by(False, args={"a": deep})
    assert "more than 100 deep" in found.problem.message
    assert "older" not in found.problem.message
