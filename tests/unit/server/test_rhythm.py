"""Evaluations and checkpoints by updates, epochs and seconds: when they fall due, and what a restart changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgd.server.coordinator import Coordinator
from asgd.server.rhythm import Counts, passed
from asgd.spec.types import Rhythm
from asgd.wire.messages import Beat, Evaluated, Fault, Hello, Pull
from tests.unit.server.members import BATCH, NOW, STARTED, Members, hello
from tests.unit.server.test_coordinator import job, push


@pytest.mark.parametrize(
    ("rhythm", "since", "now", "due"),
    [
        ({"every_updates": 10}, (0, 0.0), (9, 0.9), False),
        ({"every_updates": 10}, (0, 0.0), (10, 1.0), True),
        ({"every_updates": 10}, (12, 0.0), (19, 0.0), False),
        ({"every_updates": 10}, (19, 0.0), (35, 0.0), True),
        ({"every_epochs": 0.1}, (0, 0.2), (0, 0.1 + 0.2), True),
        ({"every_epochs": 2}, (0, 2.5), (0, 3.9), False),
        ({"every_updates": 10, "every_epochs": 1}, (10, 0.9), (11, 1.0), True),
        ({"every_updates": 10, "every_epochs": 1}, (10, 1.0), (20, 1.5), True),
        ({"every_seconds": 1.0}, (0, 0.0), (1000, 9.0), False),
    ],
)
def test_each_multiple_that_passes_falls_due_and_of_several_rhythms_the_first(
    rhythm: dict[str, Any], since: tuple[int, float], now: tuple[int, float], due: bool
) -> None:
    assert bool(passed(Rhythm(**rhythm), Counts(*since), Counts(*now))) == due


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 10),
        ({"everySeconds": 3}, 3),
        ({"everyUpdates": 5}, 0),
        ({"everySeconds": 3, "everyEpochs": 1}, 3),
    ],
)
def test_who_counts_updates_or_epochs_gets_no_evaluation_by_time_unless_seconds_are_given_too(
    given: dict[str, Any], seconds: float
) -> None:
    assert job(evaluation=given).spec.evaluation.seconds == seconds
    assert job(checkpoint=given).spec.checkpoint.seconds == (60 if seconds == 10 else seconds)


def trained(chief: Coordinator, updates: int, now: float = 1.0) -> None:
    for _ in range(updates):
        push(chief, now)


def test_an_evaluation_is_due_until_one_has_looked_at_the_multiple_well_or_not() -> None:
    chief = job(stopAfter={"updates": 1000}, evaluation={"everyUpdates": 10})
    trained(chief, 9)
    assert not chief.evaluation_due
    trained(chief, 4)
    assert chief.evaluation_due
    chief.evaluated(9, {"accuracy": 0.1}, False, 2.0)
    assert chief.evaluation_due, "weights of before the multiple"
    chief.evaluated(13, {}, False, 2.0, "evaluate raised: it does")
    assert not chief.evaluation_due, "one that fails is not made again"
    trained(chief, 7)
    assert chief.evaluation_due


def test_a_restart_of_shard_0_evaluates_no_multiple_twice_and_forgets_none() -> None:
    chief = job(stopAfter={"updates": 1000}, evaluation={"everyUpdates": 10})
    trained(chief, 12)
    chief.evaluated(11, {"accuracy": 0.1}, False, 2.0)
    after = job(stopAfter={"updates": 1000}, evaluation={"everyUpdates": 10})
    after.load(json.loads(json.dumps(chief.state(3.0))))
    assert not after.evaluation_due
    trained(after, 8)
    assert after.evaluation_due


def test_an_evaluator_that_has_nothing_to_evaluate_does_not_hang_and_one_that_owes_a_result_does() -> None:
    chief = job(stopAfter={"updates": 10**6}, evaluation={"everyUpdates": 100})
    chief.meet_evaluator(1.0, incarnation=1)
    trained(chief, 99)
    for now in range(10, 9000, 10):
        push(chief, float(now), verdict="refused:stale")
        chief.heard(0, 1, float(now))
        chief.meet_evaluator(float(now), incarnation=1)
        chief.tick(float(now))
    assert chief.evaluator.given_up == ""
    trained(chief, 1, 9000.0)
    for now in range(9000, 11000, 10):
        chief.heard(0, 1, float(now))
        push(chief, float(now), verdict="refused:stale")
        chief.meet_evaluator(float(now), incarnation=1)
        chief.tick(float(now))
    assert "has told nothing" in chief.evaluator.given_up


# -- checkpoints -------------------------------------------------------------------------------------------------


def saves(chief: Coordinator, updates: int) -> list[int]:
    """At which version each save was asked for, of those that one push after the other brings; none takes time."""
    found = []
    for at in range(updates):
        push(chief, 1.0 + at)
        chief.heard(0, 1, 1.0 + at)
        chief.tick(1.0 + at)
        if chief.save_asked is not None:
            found.append(chief.save_at)
            chief.saved(1.0 + at)
    return found


def test_checkpoints_by_updates_are_made_at_the_multiples_and_at_no_other_time() -> None:
    chief = job(stopAfter={"updates": 1000}, checkpoint={"everyUpdates": 30})
    assert saves(chief, 100) == [30, 60, 90]


def test_checkpoints_by_updates_and_by_seconds_are_both_made() -> None:
    chief = job(stopAfter={"updates": 1000}, checkpoint={"everyUpdates": 50, "everySeconds": 60})
    first, second = [at for at in saves(chief, 115) if at % 50 == 0], saves(chief, 1)
    assert first == [50, 100] and second == []
    alone = job(stopAfter={"updates": 1000}, checkpoint={"everyUpdates": 1000, "everySeconds": 60})
    assert len(saves(alone, 130)) == 2


def test_a_checkpoint_that_takes_long_covers_the_multiples_that_pass_meanwhile() -> None:
    chief = job(stopAfter={"updates": 1000}, checkpoint={"everyUpdates": 10})
    trained(chief, 12, 1.0)
    chief.tick(1.0)
    assert chief.save_asked is not None
    trained(chief, 40, 1.1)
    chief.saved(1.1)
    chief.tick(1.1)
    assert chief.save_at >= 52 and chief.saved_at.updates == chief.save_at


def test_checkpoints_by_epochs_are_made_when_so_many_passes_are_visited() -> None:
    chief = job(stopAfter={"epochs": 9}, dataset=80, checkpoint={"everyEpochs": 2})
    asked = []
    for at in range(50):
        granted = chief.lease(0, at + 1, 1.0)
        push(chief, 1.0, visits=[(granted.epoch, granted.start, granted.stop)])
        chief.tick(1.0)
        if chief.save_asked is not None:
            asked.append(chief.epochs)
            chief.saved(1.0)
    assert asked == [2.0, 4.0, 6.0, 8.0]


# -- who is told -------------------------------------------------------------------------------------------------


def test_the_evaluator_hears_that_one_is_due_and_its_result_counts_for_the_weights_that_it_pulled() -> None:
    one = Members(evaluation={"everyUpdates": 2})
    one.say("eye", Hello("check", "evaluator", 0, STARTED, 8, "layout"))
    assert one.say("eye", Beat("evaluator", 0, STARTED)).evaluation_due == 0
    one.push(0, 1)
    one.push(1, 1)
    assert one.say("eye", Beat("evaluator", 0, STARTED)).evaluation_due == 1
    one.say("eye", Pull("evaluator", 0, STARTED, 0, 1))
    one.push(0, 2)
    one.say("eye", Evaluated(2, 2 * BATCH, {"accuracy": 0.5}, False, incarnation=STARTED))
    assert one.say("eye", Beat("evaluator", 0, STARTED)).evaluation_due == 0
    assert one.core.primary is not None
    assert one.core.primary.status(NOW).metrics_at_updates == 2


def test_workers_tell_their_buffers_each_second_where_an_evaluation_may_come_at_any_update() -> None:
    one = Members(evaluation={"everyUpdates": 2})
    assert one.say(0, Beat("worker", 0, STARTED)).every_seconds == 1.0


@pytest.mark.parametrize("name", ["evaluation", "checkpoint"])
def test_a_rhythm_in_epochs_is_refused_where_the_data_are_a_stream(name: str) -> None:
    one = Members(**{name: {"everyEpochs": 1}, "stopAfter": {"updates": 9}})
    answer = one.say("new", hello(2, dataset=None))
    assert isinstance(answer, Fault) and answer.text.startswith(
        f"spec.{name}.everyEpochs needs data of a known size"
    )
    assert answer.text.endswith("allowed here: everyUpdates, everySeconds")
