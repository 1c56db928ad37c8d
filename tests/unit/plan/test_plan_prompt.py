"""Shard 0 hears of an edit of live fields at once: its pod is annotated once for each, and for nothing else."""

from __future__ import annotations

from asgd_operator.plan.actions import Annotate, Apply
from tests.unit.plan.builders import Scene, make_job


def annotations(scene: Scene) -> list[Annotate]:
    return [action for action in scene.actions() if isinstance(action, Annotate)]


def test_an_edit_of_a_live_field_annotates_the_pod_of_shard_0_after_the_fields_are_applied() -> None:
    scene = make_job().running().having(stopAfter={"updates": 7}).edited()
    actions = scene.actions()
    (found,) = annotations(scene)
    live = next(item for item in scene.wanted() if item.name == "x-live")
    assert (found.name, found.uid, found.value) == ("x-server-0", "u-x-server-0", live.rendered_hash)
    applied = next(
        i for i, action in enumerate(actions) if isinstance(action, Apply) and action.child == live
    )
    assert applied < actions.index(found)
    assert not annotations(scene.with_supports())


def test_nothing_is_annotated_at_the_start_or_while_nothing_changes() -> None:
    assert not annotations(make_job())
    assert not annotations(make_job().with_supports().with_servers())
    assert not annotations(make_job().running())


def test_a_pod_that_ends_or_is_not_there_is_left_alone() -> None:
    scene = make_job().running().having(stopAfter={"updates": 7}).edited()
    assert not annotations(scene.changing_pod("x-server-0", deletion=scene.seen.now))
    assert not annotations(scene.changing_pod("x-server-0", phase="Failed"))
    assert not annotations(scene.seeing(pods=()))
