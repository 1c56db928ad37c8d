"""1F1B: every micro-batch forward and backward once on each stage, in order, with as few under way as can be."""

from __future__ import annotations

from itertools import accumulate, product

import pytest

from asgd.worker.parallel.schedule import Action, one_forward_one_backward

SIZES = list(product([1, 2, 3, 5], [1, 2, 3, 7]))


@pytest.mark.parametrize(("stages", "parts"), SIZES)
def test_every_stage_goes_forward_and_backward_through_all_micro_batches_in_order(
    stages: int, parts: int
) -> None:
    for stage in range(stages):
        actions = one_forward_one_backward(stage, stages, parts)
        for way in ("forward", "backward"):
            assert [action.part for action in actions if action.way == way] == list(range(parts))


@pytest.mark.parametrize(("stages", "parts"), SIZES)
def test_a_stage_holds_no_more_micro_batches_than_stages_come_from_it_to_the_end(
    stages: int, parts: int
) -> None:
    for stage in range(stages):
        steps = [1 if a.way == "forward" else -1 for a in one_forward_one_backward(stage, stages, parts)]
        assert max(accumulate(steps)) == min(parts, stages - stage)


@pytest.mark.parametrize(("stages", "parts"), SIZES)
def test_no_stage_ever_waits_for_one_that_waits_for_it(stages: int, parts: int) -> None:
    """Plays all lists at once; a forward needs the stage before, a backward the stage behind."""
    left = [one_forward_one_backward(stage, stages, parts) for stage in range(stages)]
    done: set[tuple[int, Action]] = set()

    def ready(stage: int, action: Action) -> bool:
        if action.way == "forward":
            return stage == 0 or (stage - 1, action) in done
        return stage == stages - 1 or (stage + 1, action) in done

    while any(left):
        able = [stage for stage in range(stages) if left[stage] and ready(stage, left[stage][0])]
        assert able, f"all wait: {left}"
        for stage in able:
            done.add((stage, left[stage].pop(0)))


def test_the_last_of_three_stages_takes_turns_from_the_start_and_the_first_two_steps_later() -> None:
    def letters(stage: int) -> str:
        return " ".join(f"{a.way[0].upper()}{a.part}" for a in one_forward_one_backward(stage, 3, 4))

    assert letters(2) == "F0 B0 F1 B1 F2 B2 F3 B3"
    assert letters(0) == "F0 F1 F2 B0 F3 B1 B2 B3"
