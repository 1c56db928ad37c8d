"""Drift: what others have changed of a child is put back, and what is theirs is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from asgd_operator.constants import Condition
from asgd_operator.plan import drift
from asgd_operator.plan.actions import Apply, Heal
from asgd_operator.plan.model import Healed
from tests.unit.plan.builders import START, Scene, condition, make_job, names, told

SERVICE = ("Service", "x-server")


def scene() -> Scene:
    """Running, with everything rendered alike, as its version made it."""
    running = make_job().running().with_report(updates=1)
    hashes = {mine.stage: mine.rendered_hash for mine in running.wanted()}
    same = running.with_workers(rendered_hash=hashes["worker"]).with_evaluator(
        active=1, rendered_hash=hashes["evaluator"]
    )
    return same.written()


def healed(count: int, **fields: Any) -> Healed:
    return Healed(**({"count": count, "at": START, "version": "6", "says": "Service x-server: it"} | fields))


def healings(found: Scene) -> list[str]:
    return [name for name in names(found.actions()) if name.startswith("Heal ")]


@pytest.mark.parametrize(
    ("kind", "path", "says"),
    [
        ("Service", ("spec", "selector"), "Service x-server: kubectl has changed .spec.selector"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), "has changed .spec.maxUnavailable"),
        ("NetworkPolicy", ("spec", "ingress"), "has changed .spec.ingress"),
        ("StatefulSet", ("spec", "template", "spec", "containers"), ".spec.template.spec.containers"),
    ],
)
def test_a_field_that_another_has_taken_is_put_back_and_told_by_name(
    kind: str, path: tuple[str, ...], says: str
) -> None:
    (action,) = scene().changed_by("kubectl", kind, *path).actions()
    assert isinstance(action, Heal)
    assert (action.child.kind, action.seen.kind) == (kind, kind)
    assert says in action.event.message


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("StatefulSet", ("spec", "replicas")),
        ("Job", ("spec", "parallelism")),
        ("Job", ("spec", "suspend")),
        ("Job", ("spec", "template", "spec", "tolerations")),
    ],
)
def test_sizes_and_what_a_queue_sets_on_a_job_are_left_to_others(kind: str, path: tuple[str, ...]) -> None:
    assert scene().changed_by("kueue", kind, *path).actions() == ()


def test_a_child_that_the_api_server_keeps_no_book_of_is_left_alone() -> None:
    assert scene().actions() == ()


def test_what_another_version_has_made_is_left_and_told() -> None:
    old = scene().changed_by("kubectl", "StatefulSet", "spec", "template")
    assert old.seen.servers is not None
    found = old.seeing(servers=replace(old.seen.servers, rendered_hash="older")).plan()
    assert found.actions == ()
    degraded = condition(found, Condition.DEGRADED)
    assert degraded["reason"] == "Drifted"
    assert "kubectl has changed .spec.template. It is left" in degraded["message"]
    assert told(found) == ["Drifted"]


def test_a_second_healing_waits_and_the_wait_grows() -> None:
    changed = scene().changed_by("kubectl", "Service", "spec", "selector").seeing(now=START)
    for count, seconds in ((1, 10), (2, 20), (3, 40), (30, 600)):
        again = changed.seeing(healed={SERVICE: healed(count)})
        assert healings(again) == []
        assert again.plan().requeue_after is not None
        assert healings(again.seeing(now=START + timedelta(seconds=seconds - 1))) == []
        assert healings(again.seeing(now=START + timedelta(seconds=seconds))) == ["Heal Service"]


def test_a_fight_is_told_once_and_forgotten_when_it_is_over() -> None:
    fought = scene().seeing(now=START, healed={SERVICE: healed(drift.FOUGHT)})
    found = fought.plan()
    degraded = condition(found, Condition.DEGRADED)
    assert degraded["reason"] == "DriftFought"
    assert degraded["message"].startswith("Service x-server: it, again and again")
    assert told(found) == ["DriftFought"]
    assert told(fought.written().plan()) == []
    assert found.requeue_after is not None
    over = fought.written().seeing(now=START + timedelta(seconds=found.requeue_after + 120)).plan()
    assert condition(over, Condition.DEGRADED)["reason"] == "AsExpected"


def test_what_has_not_been_seen_since_and_what_cannot_be_owned_is_not_put_back_again() -> None:
    changed = scene().changed_by("kubectl", "Service", "spec", "selector")
    service = changed.seen.others[-2]
    assert service.kind == "Service"
    assert healings(changed.after(3600)) == ["Heal Service"]
    assert healings(changed.seeing(healed={SERVICE: healed(1, version="7")}).after(3600)) == []
    assert healings(changed.seeing(healed={SERVICE: healed(0, futile=service.owned)}).after(3600)) == []


def test_a_workload_keeps_its_size_when_it_is_put_back() -> None:
    changed = scene().changed_by("kubectl", "StatefulSet", "spec", "template")
    (action,) = changed.actions()
    assert isinstance(action, Heal) and changed.seen.servers is not None
    spec = drift.with_live_fields(action.child, replace(changed.seen.servers, replicas=7))["spec"]
    assert isinstance(spec, dict) and spec["replicas"] == 7
    by_another = replace(changed.seen.servers, owned="{}")
    assert "replicas" not in drift.with_live_fields(action.child, by_another)["spec"]  # type: ignore[operator]  # a mapping


def test_a_name_that_something_else_has_is_not_applied_over() -> None:
    lost = scene()
    others = tuple(child for child in lost.seen.others if child.kind != "Service")
    (action,) = lost.seeing(others=others).actions()
    assert isinstance(action, Apply) and action.uid == ""
    found = lost.seeing(others=others, taken={SERVICE: "Service x-server is theirs."}).plan()
    assert found.actions == ()
    assert condition(found, Condition.DEGRADED)["message"] == "Service x-server is theirs."
    assert told(found) == ["NameTaken"]
    assert found.requeue_after == 30


def test_what_is_applied_to_a_child_that_is_there_names_its_uid() -> None:
    edited = make_job().running().having(stopAfter={"epochs": 3}).edited()
    action, _ = edited.actions()
    assert isinstance(action, Apply) and action.uid == "u-ConfigMap"
