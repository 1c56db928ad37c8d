"""The operator's own failure on a job: what is told, when, and how often."""

from asgd_operator.constants import Condition
from asgd_operator.plan import failing
from tests.unit.plan.builders import condition, make_job, told


def test_a_bug_is_told_at_once_and_what_the_server_refuses_only_when_it_lasts() -> None:
    bug = failing.problem("KeyError: 'x' (views.py:7)", 1, bug=True)
    assert bug is not None
    assert (
        bug.message
        == "The operator fails on this job, which is a fault of its own: KeyError: 'x' (views.py:7). It tries again."
    )
    told_after = [count for count in range(1, 9) if failing.problem("503", count, bug=False)]
    assert told_after == [4, 5, 6, 7, 8]


def test_the_first_sentence_stands_but_a_bug_is_worth_more_than_a_refusal() -> None:
    bug, refused = failing.problem("a", 1, bug=True), failing.problem("b", 9, bug=False)
    assert bug is not None and refused is not None
    assert failing.is_news(bug, None) and failing.is_news(refused, None)
    assert failing.is_news(bug, refused)
    assert not failing.is_news(refused, bug) and not failing.is_news(bug, bug)


def test_a_notice_changes_one_condition_and_is_an_event_once() -> None:
    bug = failing.problem("a", 1, bug=True)
    assert bug is not None
    scene = make_job().running().after(50)
    found = failing.notice(scene.observed(), bug)
    assert found.status is not None
    assert condition(found, Condition.DEGRADED)["reason"] == "OperatorBug"
    rest = [item for item in found.status["conditions"] if item["type"] != "Degraded"]
    assert rest == [item for item in scene.seen.status["conditions"] if item["type"] != "Degraded"]
    assert {**found.status, "conditions": 0} == {**scene.seen.status, "conditions": 0}
    assert told(found) == ["OperatorBug"]
    again = scene.seeing(status=found.status).after(50)
    assert failing.notice(again.observed(), bug).status == found.status
    assert told(failing.notice(again.observed(), bug)) == []


def test_a_job_that_was_never_looked_at_gets_its_first_conditions() -> None:
    bug = failing.problem("a", 1, bug=True)
    assert bug is not None
    found = failing.notice(make_job().observed(), bug)
    assert condition(found, Condition.ACCEPTED)["status"] == "Unknown"
    assert condition(found, Condition.DEGRADED)["status"] == "True"
