"""What shard 0 decides: when to stop, who is a member, when to save, and that a finished job is finished."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from asgd.errors import UserError
from asgd.server.coordinator import Coordinator
from asgd.server.evaluation import FINAL_SECONDS
from asgd.server.membership import MEMBER_TIMEOUT_SECONDS
from asgd.wire.messages import Granted
from tests.checks.harness import job_spec


def job(*, workers: int = 1, dataset: int | None = None, **fields: Any) -> Coordinator:
    chief = Coordinator(job_spec(batchSize=8, **fields))
    for index in range(workers):
        chief.hello(index, 1, "", 0.0)
    chief.describe_data(dataset, "", b"[]")
    return chief


def push(
    chief: Coordinator, now: float = 1.0, worker: int = 0, verdict: str = "applied", **fields: Any
) -> None:
    given = {"visits": [], "samples": 8, "loss": 0.5} | fields
    chief.pushed(worker, given["visits"], given["samples"], given["loss"], verdict, now)


def beat(chief: Coordinator, now: float) -> None:
    for member in list(chief.members.values()):
        chief.heard(member.index, member.incarnation, now)


# -- stop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "pushes"), [({"updates": 3}, 3), ({"samples": 17}, 3), ({"samples": 16}, 2)]
)
def test_a_count_stops_the_job_with_the_push_that_reaches_it(rule: dict[str, int], pushes: int) -> None:
    chief = job(stopAfter=rule)
    for _ in range(pushes - 1):
        push(chief)
        assert chief.stop_reason == ""
    push(chief)
    assert chief.stop_reason == next(iter(rule))


def test_seconds_count_from_the_first_update_and_over_restarts() -> None:
    chief = job(stopAfter={"seconds": 10})
    chief.tick(500.0)
    push(chief, now=500.0)
    beat(chief, 506.0)
    chief.tick(506.0)
    assert chief.stop_reason == ""
    after = job(stopAfter={"seconds": 10})
    after.load(json.loads(json.dumps(chief.state(506.0))))
    assert after.trained_seconds(9000.0) == 6.0
    push(after, now=9000.0)
    after.tick(9003.9)
    assert after.stop_reason == ""
    beat(after, 9004.0)
    after.tick(9004.0)
    assert after.stop_reason == "seconds"
    assert after.trained_seconds(9999.0) == 6.0  # the clock stands at the last push


def test_epochs_are_over_when_every_sample_was_visited_not_when_it_was_leased() -> None:
    chief = job(dataset=12, workers=2, stopAfter={"epochs": 1})
    first, second = chief.lease(0, 1, 1.0), chief.lease(1, 1, 1.0)
    assert [(g.start, g.stop) for g in (first, second)] == [(0, 8), (8, 12)]
    assert chief.lease(0, 2, 1.0) == Granted(wait=True)
    push(chief, visits=[(0, 8, 12)], worker=1, samples=4)
    assert (chief.stop_reason, chief.epochs) == ("", pytest.approx(1 / 3))
    push(chief, visits=[(0, 0, 8)])
    assert chief.stop_reason == "epochs"
    assert chief.lease(0, 3, 1.0) == Granted(over=True)


@pytest.mark.parametrize(
    ("rule", "values"), [({"atLeast": 0.9}, [0.1, 0.89, 0.9]), ({"atMost": 0.2}, [0.9, 0.21, 0.2])]
)
def test_a_metric_stops_the_job_when_it_is_good_enough(rule: dict[str, float], values: list[float]) -> None:
    chief = job(stopAfter={"metric": {"name": "accuracy", **rule}})
    for value in [math.nan, *values]:
        assert chief.stop_reason == ""
        chief.evaluated(1, {"accuracy": value, "other": 5.0}, False, 1.0)
    assert chief.stop_reason == "metric"
    assert chief.metrics["accuracy"] == values[-1]


def test_the_first_reason_to_stop_stays() -> None:
    chief = job(stopAfter={"updates": 1})
    push(chief)
    chief.stop("interrupted", 2.0)
    assert chief.stop_reason == "updates"


# -- members -------------------------------------------------------------------------------------------


def test_a_worker_whose_heart_stops_is_given_up_and_its_data_goes_to_the_next() -> None:
    chief = job(workers=2, dataset=64, stopAfter={"epochs": 1})
    lost = chief.lease(0, 1, 1.0)
    chief.heard(1, 1, MEMBER_TIMEOUT_SECONDS)
    assert chief.tick(MEMBER_TIMEOUT_SECONDS) == []
    gone = chief.tick(MEMBER_TIMEOUT_SECONDS + 0.1)
    assert [(member.index, member.state) for member in gone] == [(0, "lost")]
    assert not chief.heard(0, 1, 11.0)
    assert chief.lease(0, 2, 1.0) == Granted(wait=True)
    assert chief.lease(1, 1, 1.0) == lost
    chief.hello(0, 1, "", 12.0)
    assert chief.heard(0, 1, 12.5) and set(chief.members) == {0, 1}


def test_a_push_is_a_sign_of_life_as_good_as_a_heartbeat() -> None:
    chief = job(workers=2)
    push(chief, now=5.0, worker=0)
    push(chief, now=6.0, worker=1, verdict="refused:nonfinite")
    assert chief.tick(MEMBER_TIMEOUT_SECONDS + 5.0) == []
    assert [member.index for member in chief.tick(MEMBER_TIMEOUT_SECONDS + 5.5)] == [0]


def test_time_in_which_the_server_itself_stood_still_is_nobodys_silence() -> None:
    chief = job(workers=2)
    chief.meet_evaluator(1.0)
    chief.heard(0, 1, 5.0)
    chief.heard(1, 1, 604.5)
    chief.excuse(600.0, 606.0)
    assert chief.evaluator_heard == 601.0
    assert chief.members[1].heard == 606.0
    assert chief.tick(605.0 + MEMBER_TIMEOUT_SECONDS) == []
    gone = chief.tick(605.1 + MEMBER_TIMEOUT_SECONDS)
    assert [member.index for member in gone] == [0]


def test_a_former_self_neither_joins_nor_leaves_in_its_successors_name() -> None:
    chief = job(dataset=64)
    chief.hello(0, 5, "", 1.0)
    assert [(member.incarnation, member.state) for member in chief.past] == [(1, "lost")]
    chief.hello(0, 1, "", 2.0)
    chief.bye(0, 1, True, 2.0)
    assert chief.members[0].incarnation == 5
    assert not chief.heard(0, 1, 2.0)
    chief.bye(0, 5, False, 3.0)
    assert chief.past[-1].state == "left" and not chief.members


def test_a_lease_that_is_asked_for_again_because_its_answer_was_lost_is_the_same_lease() -> None:
    chief = job(dataset=64, stopAfter={"epochs": 1})
    first = chief.lease(0, 1, 1.0)
    assert chief.lease(0, 1, 1.0) == first
    second = chief.lease(0, 2, 1.0)
    assert second != first and second.start == first.stop
    chief.hello(0, 2, "", 1.0)
    assert chief.lease(0, 2, 1.0) == first  # a new life has numbers of its own, and its data came back


def test_a_process_that_was_given_up_and_comes_back_is_another_member_and_old_requests_get_it_nothing() -> (
    None
):
    chief = job(dataset=64, stopAfter={"epochs": 1})
    first, number = chief.lease(0, 5, 1.0), chief.members[0].number
    chief.tick(1.1 + MEMBER_TIMEOUT_SECONDS)
    assert not chief.members
    chief.hello(0, 1, "", 12.0)
    assert chief.members[0].number > number
    assert chief.requests == {0: 5}, "by which older requests are refused: test_admission.py"
    assert chief.lease(0, 6, 12.0) == first


def test_a_worker_without_data_rests_until_there_is_some() -> None:
    chief = job(workers=2, dataset=8, stopAfter={"epochs": 1})
    chief.lease(0, 1, 1.0)
    assert chief.lease(1, 1, 1.0) == Granted(wait=True)
    assert [member.resting for member in chief.members.values()] == [False, True]
    chief.bye(0, 1, True, 1.0)
    assert chief.lease(1, 2, 1.0) == Granted(0, 0, 8)
    assert not chief.members[1].resting


def test_leases_of_a_stream_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="stream"):
        job().lease(0, 1, 1.0)


def test_the_end_moves_when_stop_after_changes_in_a_running_job() -> None:
    chief = job(dataset=8, stopAfter={"epochs": 2})
    assert chief.lease(0, 1, 1.0) == Granted(0, 0, 8)
    push(chief, visits=[(0, 0, 8)])
    chief.change(job_spec(batchSize=8, stopAfter={"epochs": 3}))
    assert [chief.lease(0, n, 1.0) for n in (2, 3, 4)] == [
        Granted(1, 0, 8),
        Granted(2, 0, 8),
        Granted(wait=True),
    ]
    chief.change(job_spec(batchSize=8, stopAfter={"epochs": 1}))
    beat(chief, 2.0)
    chief.tick(2.0)
    assert chief.stop_reason == "epochs"


# -- phases and checkpoints ----------------------------------------------------------------------------


def test_a_job_starts_runs_stops_saves_evaluates_and_is_finished() -> None:
    chief = job(stopAfter={"updates": 2}, checkpoint={"everySeconds": 1000})
    chief.last_save = 0.0
    chief.tick(0.5)
    assert chief.phase == "starting"
    push(chief, 1.0)
    chief.tick(1.1)
    assert chief.phase == "running"
    push(chief, 1.2)
    assert chief.phase == "stopping"
    chief.tick(1.3)
    assert (chief.phase, chief.save_asked) == ("stopping", None)
    chief.bye(0, 1, False, 1.4)
    chief.meet_evaluator(1.4)
    chief.tick(1.5)
    assert (chief.phase, chief.save_at) == ("saving", 2)
    chief.tick(1.6)
    assert chief.phase == "saving"
    chief.saved(1.7)
    chief.tick(1.8)
    assert chief.phase == "evaluating"
    chief.evaluated(2, {"accuracy": 0.9}, True, 1.9)
    assert (chief.phase, chief.stop_reason, chief.metrics) == ("finished", "updates", {"accuracy": 0.9})
    chief.tick(99.0)
    assert (chief.phase, chief.stop_reason) == ("finished", "updates")


def test_a_stopping_job_waits_for_its_workers_no_longer_than_they_may_drain() -> None:
    chief = job(workers=2, stopAfter={"updates": 1})
    push(chief, 1.0)
    drain = chief.spec.workers.drain_seconds
    beat(chief, drain)
    chief.tick(1.0 + drain)
    assert chief.phase == "stopping"
    beat(chief, drain + 1.1)
    chief.tick(1.1 + drain)
    assert chief.phase == "saving"


def test_without_a_live_evaluator_a_saved_job_is_finished() -> None:
    chief = job(stopAfter={"updates": 1})
    push(chief)
    chief.bye(0, 1, False, 1.1)
    chief.tick(1.2)
    chief.saved(1.3)
    chief.tick(1.4)
    assert chief.phase == "finished"


def test_a_job_of_own_loops_ends_also_when_a_dead_guest_is_given_up_after_the_last_goodbye() -> None:
    chief = Coordinator(job_spec(batchSize=8, workers={"replicas": 2}, stopAfter={"updates": 100}))
    for worker in range(3):
        chief.hello(worker, 1, "", 0.0)
    chief.describe_data(None, "", b"[]")
    push(chief)
    for worker in (0, 1):
        chief.bye(worker, 1, False, 1.1)
        chief.finished(worker, 1.1)
    assert chief.stop_reason == "", "worker 2 is still a member"
    for late in (1.0, 1.2):
        chief.tick(MEMBER_TIMEOUT_SECONDS + late)
    assert chief.stop_reason == "ended"


def over(evaluator: str) -> Coordinator:
    """A job whose workers say that its task has an evaluation, saved at 1.3 and evaluating since 1.4."""
    chief = job(stopAfter={"updates": 1})
    chief.await_evaluator()
    if evaluator == "left":
        chief.meet_evaluator(1.0)
        chief.leave_evaluator(True, 1.0)
        chief.await_evaluator()
    push(chief)
    chief.bye(0, 1, False, 1.1)
    chief.tick(1.2)
    chief.saved(1.3)
    chief.tick(1.4)
    return chief


def test_a_job_that_is_over_before_its_evaluator_has_joined_waits_for_it() -> None:
    chief = over("starting")
    chief.tick(10)
    assert chief.phase == "evaluating"
    chief.meet_evaluator(10)
    chief.tick(20)
    assert chief.phase == "evaluating"
    chief.evaluated(1, {"accuracy": 0.9}, True, 21)
    assert chief.phase == "finished"


def test_an_evaluator_that_never_comes_or_is_given_up_does_not_hold_a_job_up_for_ever() -> None:
    chief = over("starting")
    chief.tick(1.5 + FINAL_SECONDS)
    assert chief.phase == "finished"
    assert over("left").phase == "finished"


def test_weights_that_diverged_are_not_saved() -> None:
    chief = job()
    push(chief)
    chief.stop("diverged", 2.0)
    chief.bye(0, 1, False, 2.1)
    rounds = chief.save_round
    chief.tick(2.2)
    assert (chief.phase, chief.save_round) == ("finished", rounds)


def test_checkpoint_rounds_follow_each_other_at_their_pace_and_are_announced_ahead() -> None:
    chief = job(stopAfter={"updates": 10_000}, checkpoint={"everySeconds": 10})
    for i in range(100):
        push(chief, 20 + i / 100)
    chief.last_save = 20.0
    beat(chief, 29.9)
    chief.tick(29.9)
    assert chief.save_asked is None
    beat(chief, 30.0)
    push(chief, 30.0)
    chief.tick(30.0)
    assert chief.save_asked == 30.0 and chief.save_at > chief.updates
    first = chief.save_round
    beat(chief, 45.0)
    chief.tick(45.0)
    assert chief.save_round == first  # one at a time
    chief.saved(46.0)
    for now, expected in ((55.9, first), (56.0, first + 1)):
        beat(chief, now)
        chief.tick(now)
        assert chief.save_round == expected


def test_what_a_restart_takes_over_is_what_was_saved() -> None:
    chief = job(dataset=64, stopAfter={"epochs": 1})
    granted = chief.lease(0, 1, 1.0)
    push(chief, visits=[(granted.epoch, granted.start, granted.start + 8)], loss=0.25)
    chief.evaluated(1, {"accuracy": 0.5}, False, 2.0)
    text = json.dumps(chief.state(3.0))
    after = Coordinator(job_spec(batchSize=8, stopAfter={"epochs": 1}))
    after.load(json.loads(text))
    assert (after.updates, after.samples, after.loss, after.metrics) == (1, 8, 0.25, {"accuracy": 0.5})
    assert (after.dataset, after.epochs, after.stop_reason) == (64, 8 / 64, "")
    after.hello(0, 2, "", 0.0)
    left = after.lease(0, 1, 1.0)
    assert left.start == 8
    assert json.loads(json.dumps(after.state(3.0)))["pool"]["visited"] == 8
