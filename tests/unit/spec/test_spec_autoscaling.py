"""The number of workers by advice: bounds, steps, windows, and no turning round for noise."""

from __future__ import annotations

import random
from itertools import pairwise

from asgd.spec.autoscaling import DOWN, UP, Pending, Scale, begin, decide, look_again, sized
from asgd.spec.status import Advice
from asgd.spec.types import Autoscale
from tests.checks.virtual import job

RULE = Autoscale(min=2, max=16)
WINDOW = RULE.stabilization_window_seconds


def said(workers: int, measured: int) -> Advice:
    return Advice(workers, f"{workers} are better than {measured}", measured)


def at(workers: int, direction: str = "", pending: Pending | None = None) -> Scale:
    return Scale(workers, start=4, direction=direction, pending=pending)


def test_it_begins_with_replicas_brought_within_the_bounds() -> None:
    assert [begin(RULE, replicas).workers for replicas in (1, 4, 99)] == [2, 4, 16]
    assert decide(RULE, 4, None, said(8, 4), now=0.0) == begin(RULE, 4), "no advice is of its time"


def test_another_number_to_start_with_begins_it_anew() -> None:
    assert decide(RULE, 6, at(12, DOWN), None, now=0.0) == begin(RULE, 6)


def test_more_workers_come_at_once_with_the_reason_of_the_advice() -> None:
    found = decide(RULE, 4, at(4), said(8, 4), now=0.0)
    assert (found.workers, found.direction, found.reason) == (8, UP, "8 are better than 4")
    assert decide(RULE, 4, at(8, UP), said(16, 8), now=1.0).workers == 16


def test_what_the_bounds_take_from_the_advice_is_told() -> None:
    found = decide(RULE, 4, at(12, UP), said(24, 12), now=0.0)
    assert (found.workers, found.reason) == (16, "24 are better than 12; workers.autoscale.max is 16")
    fewer = at(4, pending=Pending(2, 0.0))
    found = decide(RULE, 4, fewer, said(1, 4), now=WINDOW)
    assert (found.workers, found.reason) == (2, "1 are better than 4; workers.autoscale.min is 2")


def test_new_bounds_hold_at_once_whatever_is_advised_or_waits() -> None:
    narrow = Autoscale(min=2, max=3)
    found = decide(narrow, 4, at(8, UP, Pending(6, 0.0)), None, now=1.0)
    assert (found.workers, found.reason, found.pending) == (3, "workers.autoscale.max is 3", None)
    found = decide(Autoscale(min=6, max=9), 4, at(4), said(4, 4), now=1.0)
    assert (found.workers, found.reason) == (6, "workers.autoscale.min is 6")


def test_a_step_up_waits_until_all_workers_are_there_that_ever_will_be() -> None:
    assert decide(RULE, 4, at(8, UP), said(10, 5), now=0.0) == at(8, UP)
    assert decide(RULE, 4, at(8, UP), said(14, 7), now=0.0, given_up=1).workers == 14


def test_advice_of_workers_that_are_still_leaving_changes_nothing() -> None:
    assert decide(RULE, 4, at(4, DOWN), said(9, 8), now=1e6) == at(4, DOWN)


def test_advice_of_a_server_that_does_not_tell_how_many_it_has_measured_changes_nothing() -> None:
    assert decide(RULE, 4, at(4), said(8, 0), now=0.0) == at(4)


def test_fewer_workers_wait_for_the_window_and_the_highest_advice_of_it_counts() -> None:
    scale = at(8)
    for now, workers in ((0.0, 3), (100.0, 5), (200.0, 4)):
        scale = decide(RULE, 4, scale, said(workers, 8), now=now)
        assert (scale.workers, look_again(RULE, scale, now)) == (8, WINDOW - now)
    found = decide(RULE, 4, scale, said(3, 8), now=WINDOW)
    assert (found.workers, found.direction, found.pending) == (5, DOWN, None)


def test_one_look_that_does_not_advise_fewer_begins_the_window_anew() -> None:
    for advice in (said(8, 8), None):
        scale = decide(RULE, 4, at(8), said(4, 8), now=0.0)
        scale = decide(RULE, 4, scale, advice, now=WINDOW - 1)
        assert scale.pending is None and look_again(RULE, scale, WINDOW) is None
        assert decide(RULE, 4, scale, said(4, 8), now=WINDOW).workers == 8


def test_after_workers_were_taken_away_some_are_added_again_only_after_the_window() -> None:
    scale = decide(RULE, 4, at(6, DOWN), said(12, 6), now=0.0)
    assert scale == at(6, DOWN, Pending(12, 0.0))
    scale = decide(RULE, 4, scale, said(9, 6), now=100.0)
    found = decide(RULE, 4, scale, said(12, 6), now=WINDOW)
    assert (found.workers, found.direction) == (9, UP)


def test_what_waits_in_one_direction_is_no_wait_in_the_other() -> None:
    found = decide(RULE, 4, at(6, DOWN, Pending(3, 0.0)), said(9, 6), now=WINDOW)
    assert found == at(6, DOWN, Pending(9, WINDOW))


def test_a_window_of_zero_seconds_takes_workers_away_at_once() -> None:
    assert decide(Autoscale(2, 16, 0), 4, at(8), said(4, 8), now=0.0).workers == 4


def test_noise_about_one_number_never_takes_workers_away_and_a_day_of_it_changes_little() -> None:
    draw, scale, numbers = random.Random(0), begin(RULE, 4), [4]
    for now in range(0, 86_400, 10):
        there = scale.workers
        advice = said(max(1, min(2 * there, draw.choice([7, 8, 8, 9]))), there)
        scale = decide(RULE, 4, scale, advice, float(now))
        numbers.append(scale.workers)
    changes = [(a, b) for a, b in pairwise(numbers) if a != b]
    assert scale.workers == 9 and len(changes) <= 4 and all(a < b for a, b in changes), changes


def test_advice_that_swings_as_slowly_as_it_can_turns_the_number_round_once_a_window_at_most() -> None:
    scale, turns = at(8, UP), 0
    for now in range(0, 36_000, 10):
        swung = said(4 if now // (2 * WINDOW) % 2 else 12, scale.workers)
        after = decide(RULE, 4, scale, swung, float(now))
        turns += after.direction != scale.direction
        scale = after
    assert 0 < turns <= 36_000 / WINDOW / 2


def test_a_job_of_another_size_is_the_job_with_another_number_of_replicas() -> None:
    before = job(workers={"replicas": 4})
    after = sized(before, 7)
    assert after.spec.workers.replicas == after.document["spec"]["workers"]["replicas"] == 7
    assert before.spec.workers.replicas == before.document["spec"]["workers"]["replicas"] == 4
    assert sized(before, 4) is before
