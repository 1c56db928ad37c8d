"""Every state in which a job waits says what for, and ends by itself: each is let expire here, in virtual time."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from asgd.server.coordinator import Coordinator
from asgd.server.evaluation import FINAL_SECONDS
from asgd.server.facts import JobFacts
from asgd.server.members import PAST_MOST
from asgd.server.notices import MOST
from asgd.server.view import build_status
from asgd.server.waiting import waiting_for
from asgd.wire.reports import ShardReport
from tests.checks.harness import job_spec

STARTUP, PROGRESS = 1800, 600


def job(workers: int | None = None, seats: int = 1, **fields: Any) -> Coordinator:
    """A job of `seats` workers, of which the first `workers` have joined; all if not given."""
    given = {"stopAfter": {"updates": 10_000}, "workers": {"replicas": seats}, **fields}
    chief = Coordinator(job_spec(batchSize=8, **given), "run-1")
    for index in range(seats if workers is None else workers):
        chief.hello(index, 1, "", 0.0)
    chief.last_save = 0.0
    return chief


def waits(chief: Coordinator, now: float) -> str:
    return waiting_for(chief, "", now)


def push(chief: Coordinator, now: float, verdict: str = "applied", worker: int = 0) -> None:
    chief.pushed(worker, [], 8, 0.5, verdict, now)


def tick(chief: Coordinator, now: float) -> None:
    """Time moves on; all members are alive."""
    for member in chief.members.values():
        chief.heard(member.index, member.incarnation, now)
    chief.tick(now)


def restarted(chief: Coordinator, now: float, run: str = "run-1") -> Coordinator:
    """Shard 0 dies after a save and begins again from it."""
    after = Coordinator(chief.spec, run)
    after.load(json.loads(json.dumps(chief.state(now))))
    return after


def ended_loop(chief: Coordinator, worker: int, now: float) -> None:
    chief.bye(worker, 1, False, now)
    chief.finished(worker, now)


# -- starting ------------------------------------------------------------------------------------------


def test_a_job_that_does_not_start_says_what_it_waits_for_and_how_long() -> None:
    chief = job(0)
    chief.tick(0.0)
    chief.tick(9.0)
    assert waits(chief, 9.0) == "", "nobody wants to read that of a start of seconds"
    assert waits(chief, 25.0) == "no worker has joined for 20 s, at most 1,800 s"
    chief.hello(0, 1, "", 25.0)
    chief.hello(2, 1, "", 25.0)
    assert waits(chief, 41.0) == "the first push of workers 0, 2, for 40 s, at most 1,800 s"


@pytest.mark.parametrize("verdict", ["refused:stale", "refused:norm"])
def test_the_seconds_of_the_stop_rule_pass_although_every_push_is_refused(verdict: str) -> None:
    chief = job(stopAfter={"seconds": 10})
    for now in range(5, 15):
        push(chief, now, verdict)
        tick(chief, now)
    assert chief.stop_reason == ""
    tick(chief, 15.0)
    assert (chief.stop_reason, chief.updates) == ("seconds", 0)
    assert chief.trained_seconds(99.0) == 9.0


# -- running -------------------------------------------------------------------------------------------


def test_a_running_job_says_who_waits_for_whom_when_no_push_comes() -> None:
    chief = job(seats=3)
    for worker in range(3):
        push(chief, 1.0, worker=worker)
    chief.parked(0)
    chief.parked(2)
    tick(chief, 29.0)
    assert waits(chief, 29.0) == ""
    assert waits(chief, 42.0) == "no push has come for 40 s: the others wait for worker 1"
    for worker in range(3):
        chief.bye(worker, 1, True, 42.0)
    assert waits(chief, 43.0) == "no push has come for 40 s: no worker is there"


def test_who_has_no_samples_left_is_not_named_as_the_one_who_is_waited_for() -> None:
    chief = job(seats=2, stopAfter={"epochs": 1})
    chief.describe_data(8, "", b"")
    push(chief, 1.0)
    assert not chief.lease(1, 1, 20.0).wait
    assert chief.lease(0, 1, 20.0).wait
    tick(chief, 42.0)
    assert waits(chief, 42.0) == "no push has come for 40 s from worker 1"
    chief.bye(1, 1, True, 42.0)
    # It has not asked again yet.
    assert waits(chief, 42.5) == "no push has come for 40 s: worker 0 waits for samples"


def test_an_evaluator_that_hangs_is_told_to_end_so_that_another_one_can_start() -> None:
    chief = job(evaluation={"everySeconds": 10})
    chief.meet_evaluator(0.0, 5)
    push(chief, 1.0)
    for now in range(10, 100, 10):
        chief.evaluated(1, {"accuracy": 0.5}, False, float(now))
    for now in range(100, PROGRESS + 90, 10):
        push(chief, now)
        chief.meet_evaluator(float(now), 5)
        tick(chief, float(now))
    assert chief.evaluator.given_up == ""
    push(chief, PROGRESS + 91)
    tick(chief, PROGRESS + 91.0)
    assert chief.evaluator.given_up == "the evaluator has told nothing for 601 s: it has to end"
    assert [notice.text for notice in chief.notices.newest] == [chief.evaluator.given_up]
    chief.meet_evaluator(PROGRESS + 92.0, 6)
    assert chief.evaluator.given_up == "", "its successor is another process"


def test_an_evaluator_that_is_to_evaluate_at_the_end_only_is_not_late_before() -> None:
    chief = job(evaluation={"everySeconds": 0})
    chief.meet_evaluator(0.0, 5)
    for now in range(0, 4000, 5):
        push(chief, now)
        chief.meet_evaluator(float(now), 5)
        tick(chief, float(now))
    assert chief.evaluator.given_up == ""


# -- the end -------------------------------------------------------------------------------------------


def stopped(**fields: Any) -> Coordinator:
    """A job with one worker that stops at second 1."""
    chief = job(**{"stopAfter": {"updates": 1}, **fields})
    push(chief, 1.0)
    return chief


def test_a_stopping_job_says_whose_push_it_waits_for_and_a_saving_one_what_keeps_it() -> None:
    chief = stopped()
    told = waits(chief, 12.0)
    assert told == (
        "worker 0 to finish the push under way, or what a script does after its loop: at most 30 s"
        " (workers.drainSeconds)"
    )
    chief.bye(0, 1, False, 12.0)
    tick(chief, 12.0)
    assert chief.phase == "saving"
    assert waits(chief, 33.0) == "the final checkpoint: a part of it, or its manifest, is being written"
    slow = "the checkpoint store has not answered for 20 s"
    assert waiting_for(chief, slow, 33.0) == f"the final checkpoint: {slow}"


def evaluating(**fields: Any) -> Coordinator:
    """A job that waits for its final evaluation from second 3 on; the evaluator lives."""
    chief = stopped(**fields)
    chief.meet_evaluator(1.0, 5)
    chief.bye(0, 1, False, 2.0)
    tick(chief, 2.0)
    chief.saved(3.0)
    tick(chief, 3.0)
    assert chief.phase == "evaluating"
    return chief


def test_a_final_evaluation_that_hangs_does_not_hold_the_job_up_for_ever() -> None:
    chief = evaluating()
    assert waits(chief, 23.5) == "the final evaluation, for 20 s: at most 1800 s"
    for now in range(5, STARTUP + 4, 2):
        chief.meet_evaluator(float(now), 5)
        tick(chief, now)
        assert chief.phase == "evaluating"
    chief.meet_evaluator(STARTUP + 4.0, 5)
    tick(chief, STARTUP + 4.0)
    assert chief.phase == "finished"
    assert chief.notices.newest[-1].text == (
        "the final evaluation has told nothing for 1801 s: the job ends without it"
    )
    assert chief.evaluator.given_up, "the process is told to end"


def test_an_evaluator_that_has_evaluated_before_gets_the_time_that_it_needs_many_times_over() -> None:
    chief = job(evaluation={"everySeconds": 1}, stopAfter={"updates": 3})
    chief.meet_evaluator(0.0, 5)
    for now in (200.0, 400.0):  # 200 s each
        push(chief, now)
        chief.evaluated(1, {"accuracy": 0.5}, False, now)
    push(chief, 401.0)
    chief.bye(0, 1, False, 402.0)
    for now in (402.0, 403.0):
        chief.meet_evaluator(now, 5)
        chief.tick(now)
        chief.saved(now)
    assert waits(chief, 424.0) == "the final evaluation, for 20 s: at most 1600 s"


def test_an_evaluator_that_never_joins_is_waited_for_a_short_time() -> None:
    chief = stopped()
    chief.await_evaluator()
    chief.bye(0, 1, False, 2.0)
    tick(chief, 2.0)
    chief.saved(3.0)
    tick(chief, 3.0)
    assert waits(chief, 14.0) == "an evaluator that has not joined yet: at most 60 s"
    tick(chief, 3.0 + FINAL_SECONDS)
    assert chief.phase == "finished"
    assert waits(chief, 99.0) == ""


# -- own loops -----------------------------------------------------------------------------------------


def test_a_job_of_own_loops_ends_although_shard_0_was_started_anew_in_between() -> None:
    chief = job(seats=2)
    push(chief, 1.0)
    ended_loop(chief, 0, 2.0)
    after = restarted(chief, 3.0)
    after.hello(1, 1, "", 0.0)
    ended_loop(after, 1, 5.0)
    assert after.stop_reason == "ended"


def test_the_end_of_an_own_loop_is_saved_at_once_though_no_push_comes() -> None:
    chief = job(seats=2)
    push(chief, 1.0)
    tick(chief, 1.0)
    assert chief.save_asked is None
    ended_loop(chief, 0, 2.0)
    tick(chief, 2.1)
    assert chief.save_asked == 2.1
    chief.saved(2.2)
    tick(chief, 2.3)
    assert chief.save_asked is None, "once"


def test_an_own_loop_whose_process_died_and_never_comes_back_is_waited_for_no_longer_than_a_start() -> None:
    chief = job(seats=2)
    push(chief, 1.0)
    tick(chief, 1.0)
    chief.bye(1, 1, True, 5.0)
    ended_loop(chief, 0, 6.0)
    tick(chief, 60.0)
    assert waits(chief, 60.0) == "the own loop of worker 1, which no process runs now: at most 1,800 s"
    tick(chief, 5.0 + STARTUP)
    assert chief.stop_reason == ""
    tick(chief, 5.1 + STARTUP)
    assert chief.stop_reason == "ended"


def test_a_job_that_another_run_resumes_runs_all_its_loops_again() -> None:
    chief = job(1, seats=2)
    push(chief, 1.0)
    ended_loop(chief, 0, 2.0)
    chief.stop("interrupted", 2.5)
    after = restarted(chief, 3.0, run="run-2")
    after.hello(1, 1, "", 0.0)
    ended_loop(after, 1, 5.0)
    assert (after.stop_reason, after.updates) == ("", 1)


def test_a_job_that_was_ending_when_shard_0_died_goes_on_ending() -> None:
    chief = job(stopAfter={"metric": {"name": "accuracy", "atLeast": 0.9}})
    push(chief, 1.0)
    chief.evaluated(1, {"accuracy": 0.95}, False, 2.0)
    after = restarted(chief, 3.0)
    assert after.stop_reason == "metric"
    after.tick(0.0)
    assert after.phase == "saving"


# -- histories -----------------------------------------------------------------------------------------


def test_twenty_thousand_members_that_came_and_went_are_counted_and_not_all_remembered() -> None:
    chief = job(0)
    for incarnation in range(20_000):
        index = incarnation % 50
        chief.hello(index, incarnation, "", float(incarnation))
        chief.bye(index, incarnation, index == 7, float(incarnation))
    assert len(chief.past) == PAST_MOST
    assert chief.roster.unlisted == 20_000 - PAST_MOST
    assert (len(chief.seen), chief.lost) == (50, {7})
    assert chief.restarts["worker"] == 20_000 - 50
    assert chief.past[-1].incarnation == 19_999, "the newest are those that are kept"
    status = build_status(chief, JobFacts("job", [ShardReport()], [1]), 20_000.0)
    assert (len(status.workers), status.workers_unlisted) == (PAST_MOST, 20_000 - PAST_MOST)
    assert len(msgspec.json.encode(status)) < 400 * PAST_MOST


def test_what_was_given_up_is_told_by_numbers_that_go_on_and_the_oldest_goes() -> None:
    chief = job()
    for number in range(40):
        chief.notices.add(f"thing {number + 1}")
    after = restarted(chief, 1.0)
    after.notices.add("one more")
    newest = after.notices.newest
    assert len(newest) == MOST
    assert [(notice.number, notice.text) for notice in newest[-2:]] == [(40, "thing 40"), (41, "one more")]
    assert len(msgspec.json.encode(after.state(2.0))) < 4000
