"""The number of workers where a queue decides how many may start: no running worker is lost, and nothing flaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from asgd.spec.autoscaling import (
    ASK_LEAST_SECONDS,
    ASK_MOST_SECONDS,
    DOWN,
    REFUSED_SECONDS,
    UP,
    Queue,
    Refused,
    Scale,
    begin,
    decide,
    look_again,
)
from asgd.spec.status import Advice
from asgd.spec.types import Autoscale

RULE = Autoscale(min=2, max=64)
WINDOW = RULE.stabilization_window_seconds


def more(there: int) -> Advice:
    return Advice(2 * there, f"{2 * there} are better than {there}", there)


def queue(room: int, workers: int, **fields: bool) -> Queue:
    """It lets as many as there is room for start, and none of the others."""
    return Queue("team", waiting=range(room, workers), started=range(min(room, workers)), **fields)


def simulated(rooms: Iterator[int], seconds: int, rule: Autoscale = RULE) -> list[tuple[int, int, int]]:
    """[(second, number in force, workers that run)] of a job whose advice is always twice what it has.

    The queue takes a number whole or not at all, as Kueue does.
    """
    scale, runs, seen = begin(rule, 2), 2, []
    for now in range(0, seconds, 2):
        room = next(rooms)
        if scale.workers <= max(room, runs):
            runs = scale.workers
        scale = decide(rule, 2, scale, more(runs), float(now), queue=queue(runs, scale.workers))
        seen.append((now, scale.workers, runs))
    return seen


def constant(room: int) -> Iterator[int]:
    while True:
        yield room


@pytest.mark.parametrize("room", [2, 3, 5, 11, 12, 40])
def test_a_job_comes_to_all_that_its_queue_has_and_never_below_what_it_had(room: int) -> None:
    seen = simulated(constant(room), 7200)
    running = [runs for _, _, runs in seen]
    assert running == sorted(running), "no worker that ran was ever lost"
    assert running[-1] == room


def test_a_job_that_has_all_asks_for_more_a_few_minutes_of_each_hour() -> None:
    seen = simulated(constant(11), 36_000)[1800:]
    asking = sum(number > runs for _, number, runs in seen) / len(seen)
    turns = sum(a[1] != b[1] for a, b in pairwise(seen))
    hours = len(seen) * 2 / 3600
    assert 0 < asking < 0.2
    assert turns <= 12 * hours, "two changes for each of the asks of a bisection"


def test_room_that_comes_later_is_found_within_the_hour() -> None:
    rooms = iter([3] * 1800 + [20] * 3600)
    seen = simulated(rooms, 10_000)
    assert next(now for now, _, runs in seen if runs > 3) < 3600 + 1.5 * REFUSED_SECONDS
    assert seen[-1][2] > 12


def test_a_number_is_given_back_to_what_the_queue_had_let_start_before() -> None:
    asked = Scale(8, 2, direction=UP, granted=4, changed=100.0)
    held = queue(4, 8)
    assert decide(RULE, 2, asked, more(4), 159.0, queue=held).workers == 8
    found = decide(RULE, 2, asked, more(4), 100.0 + ASK_MOST_SECONDS, queue=held)
    assert (found.workers, found.reason) == (4, "queue team has no room for 8 workers")
    assert (found.direction, found.refused) == (DOWN, Refused(8, 160.0))
    assert look_again(RULE, asked, 130.0) == 30.0


def test_a_worker_that_is_started_again_while_the_queue_is_asked_is_no_reason_to_go_below() -> None:
    asked = Scale(8, 2, direction=UP, granted=4, changed=100.0)
    restarting = Queue("team", waiting={1, 4, 5, 6, 7}, started={0, 2, 3})
    assert decide(RULE, 2, asked, None, 200.0, queue=restarting).workers == 4


def test_a_worker_that_waits_for_a_moment_as_it_is_started_again_gives_nothing_back() -> None:
    whole = Scale(4, 2, granted=4, changed=100.0)
    moment = Queue("team", waiting={1}, started={0, 2, 3})
    assert decide(RULE, 2, whole, None, 9999.0, queue=moment).workers == 4


def test_the_first_workers_that_a_queue_lets_go_one_after_the_other_are_no_refusal() -> None:
    first = begin(RULE, 4)
    assert decide(RULE, 4, first, None, 9999.0, queue=queue(1, 4)) == first


def test_the_least_that_its_user_wants_is_asked_for_as_long_as_it_takes() -> None:
    raised = decide(Autoscale(6, 64), 2, Scale(2, 2, granted=2), None, 10.0, queue=queue(2, 2))
    assert raised.workers == 6
    assert decide(Autoscale(6, 64), 2, raised, None, 9999.0, queue=queue(2, 6)).workers == 6


def test_windows_of_no_length_ask_for_some_seconds_all_the_same() -> None:
    asked = Scale(8, 2, granted=4, changed=100.0)
    for seconds, workers in ((ASK_LEAST_SECONDS - 1, 8), (ASK_LEAST_SECONDS, 4)):
        rule = Autoscale(2, 64, 0)
        assert decide(rule, 2, asked, None, 100.0 + seconds, queue=queue(4, 8)).workers == workers


def test_what_was_refused_is_forgotten_when_it_was_granted_and_after_half_an_hour() -> None:
    scale = Scale(8, 2, granted=4, changed=100.0, refused=Refused(8, 50.0))
    assert decide(RULE, 2, scale, None, 101.0, queue=queue(8, 8)).refused is None
    rests = Scale(4, 2, direction=DOWN, granted=4, refused=Refused(5, 0.0))
    assert decide(RULE, 2, rests, more(4), REFUSED_SECONDS - 1, queue=queue(4, 4)) == rests
    after = decide(RULE, 2, rests, more(4), REFUSED_SECONDS, queue=queue(4, 4))
    assert after.refused is None and after.pending is not None and after.pending.workers == 8
    assert look_again(RULE, rests, REFUSED_SECONDS - 7) == 7


def test_a_step_below_what_was_refused_says_both() -> None:
    rests = Scale(4, 2, granted=4, refused=Refused(8, 0.0))
    found = decide(RULE, 2, rests, more(4), 1.0, queue=queue(4, 4))
    assert (found.workers, found.reason) == (6, "8 are better than 4; queue team has no room for 8 workers")


def test_fewer_workers_go_after_the_window_as_everywhere() -> None:
    fewer = Advice(2, "2 do as well", 4)
    scale = decide(RULE, 2, Scale(4, 2, granted=4), fewer, 0.0, queue=queue(4, 4))
    found = decide(RULE, 2, scale, fewer, float(WINDOW), queue=queue(4, 4))
    assert (found.workers, found.granted) == (2, 2)


def test_a_queue_that_starts_all_anew_for_another_number_keeps_it_but_for_its_users_own_bounds() -> None:
    whole, scale = queue(4, 4, in_place=False), Scale(4, 2, granted=4)
    for advice in (more(4), Advice(2, "2 do as well", 4)):
        found = decide(RULE, 2, scale, advice, 9999.0, queue=whole)
        assert (found.workers, found.pending) == (4, None)
        assert found.reason.endswith("its Kueue has the feature gate ElasticJobsViaWorkloadSlices off")
    assert decide(RULE, 2, scale, Advice(4, "4 are right", 4), 1.0, queue=whole).reason == ""
    assert decide(Autoscale(2, 3), 2, scale, None, 1.0, queue=whole).workers == 3


def test_workers_that_were_taken_back_come_again_as_few_as_at_the_start_whatever_is_advised() -> None:
    grown = Scale(8, 2, "8 are better than 4", UP, granted=8, refused=Refused(16, 0.0))
    back = decide(RULE, 2, grown, more(8), 5.0, queue=Queue("team", waits=True))
    assert (back.workers, back.granted, back.refused, back.direction) == (2, 0, None, "")
    assert decide(RULE, 2, back, more(8), 6.0, queue=Queue("team", waits=True)) == back


def test_without_a_queue_nothing_is_written_down_of_one() -> None:
    found = decide(RULE, 2, begin(RULE, 2), more(2), 1.0)
    assert (found.workers, found.granted, found.refused) == (4, 0, None)
