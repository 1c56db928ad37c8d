"""What a worker tells of its time: phases in slots, also of one that goes on and of one that lasted for long."""

from __future__ import annotations

from asgd.spec.phases import COMPUTE, DATA, MIXES, PUSH, SLOT_SECONDS, TOLD_MOST, WAIT
from asgd.worker.phases import Phases


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_slot_tells_the_shares_of_its_phases() -> None:
    clock = Clock()
    phases = Phases(clock)
    for _ in range(4 * 2):  # half of each slot is compute, a third push, the rest data
        for phase, share in ((COMPUTE, 3), (PUSH, 2), (DATA, 1)):
            phases.turn(phase)
            clock.now += share * SLOT_SECONDS / 6
    told = phases.told()
    assert told.number == 8
    assert {MIXES[letter] for letter in told.letters[:-1]} == {(3, 1, 2, 0)}


def test_a_phase_that_goes_on_is_told_as_far_as_it_has_come_and_changes_nothing() -> None:
    clock = Clock()
    phases = Phases(clock)
    with phases.during(WAIT):
        clock.now = 10.1
        first, again = phases.told(), phases.told()
    assert first == again
    assert (first.number, len(first.letters)) == (40, TOLD_MOST)
    assert {MIXES[letter] for letter in first.letters} == {(0, 0, 0, 6)}
    assert abs(first.seconds_ago - 0.1) < 1e-9


def test_after_a_block_goes_on_what_was_before() -> None:
    clock = Clock()
    phases = Phases(clock)
    phases.turn(DATA)
    with phases.during(PUSH):
        clock.now = SLOT_SECONDS
    clock.now = 2.5 * SLOT_SECONDS
    assert [MIXES[letter] for letter in phases.told().letters] == [(0, 0, 6, 0), (0, 6, 0, 0)]
