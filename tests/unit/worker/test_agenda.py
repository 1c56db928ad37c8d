"""When the evaluator measures: at its own pace, and when shard 0 says that updates or epochs make it due."""

from __future__ import annotations

from asgd.wire.messages import Beaten
from asgd.worker.agenda import ROUND_SECONDS, Agenda


def test_by_time_it_measures_at_once_and_then_at_the_pace_that_shard_0_tells() -> None:
    agenda, heard = Agenda(10.0), Beaten(workers=1, every_seconds=5.0)
    assert [now for now in range(20) if agenda.due(heard, float(now))] == [0, 5, 10, 15]
    assert not agenda.due(Beaten(workers=1, every_seconds=5.0, stop="updates"), 100.0)


def test_what_is_due_by_updates_is_measured_once() -> None:
    agenda = Agenda(0.0)
    assert not agenda.due(Beaten(workers=1), 1.0)
    first = Beaten(workers=1, evaluation_due=3)
    assert agenda.due(first, 1.0)
    agenda.measured(first, True, 1.5)
    assert not agenda.due(first, 2.0)
    assert agenda.due(Beaten(workers=1, evaluation_due=4), 2.0)


def test_weights_of_before_an_open_round_are_pulled_again_until_it_has_closed() -> None:
    agenda, heard = Agenda(0.0), Beaten(workers=1, evaluation_due=3)
    agenda.measured(heard, False, 1.0)
    assert not agenda.due(heard, 1.0 + ROUND_SECONDS / 2)
    assert agenda.due(heard, 1.0 + ROUND_SECONDS)
