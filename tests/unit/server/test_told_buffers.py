"""Whose buffers (batch norm's statistics) the evaluator is told: those of workers that are there, up to the end."""

from __future__ import annotations

import msgspec
import pytest

from asgd.wire.messages import Beat, Bye, Command, Done
from asgd.wire.reports import WorkerReport
from tests.unit.server.members import NOW, STARTED, Members


def tell(one: Members, worker: int) -> None:
    """Worker `worker` tells buffers that are its number."""
    one.say(worker, Beat("worker", worker, STARTED, WorkerReport(buffers=bytes([worker] * 4))))


def told(one: Members) -> list[int]:
    """Whose buffers the evaluator gets."""
    answer = one.say("eye", Command("buffers"))
    assert isinstance(answer, Done)
    return [values[0] for values in msgspec.msgpack.decode(answer.body, type=list[bytes])]


@pytest.mark.parametrize(
    "goodbye",
    [
        Bye("worker", 0, STARTED, reason="drained"), Bye("worker", 0, STARTED, lost=True),
        Bye("worker", 0, STARTED),
    ],
    ids=["drained", "killed", "its loop ended"],
)  # fmt: skip
def test_a_worker_that_left_while_others_train_has_no_say_in_the_final_buffers(goodbye: Bye) -> None:
    one = Members()
    for worker in (0, 1):
        tell(one, worker)
    one.say("parent", goodbye)
    assert told(one) == [1]
    one.core.tick(NOW + 0.1)
    one.say("any", Command("stop"))
    one.say(1, Bye("worker", 1, STARTED, reason="stopped"))
    one.core.tick(NOW + 0.2)
    assert told(one) == [1], "that of worker 0 is of weights of long ago"


def test_all_that_were_there_at_the_end_are_told_whoever_leaves_first() -> None:
    one = Members()
    for worker in (0, 1):
        tell(one, worker)
    one.say("any", Command("stop"))
    for worker in (0, 1):
        one.say(worker, Bye("worker", worker, STARTED, reason="stopped"))
        one.core.tick(NOW + 0.1)
    assert told(one) == [0, 1]


def test_of_a_job_whose_last_worker_is_away_the_newest_buffers_stay() -> None:
    one = Members()
    for worker in (0, 1):
        tell(one, worker)
    for worker in (0, 1):
        one.say("parent", Bye("worker", worker, STARTED, lost=True))
        one.core.tick(NOW + 0.1)
    assert told(one) == [1]


def test_a_worker_that_the_strategy_rejects_has_no_say_unless_there_is_nobody_else() -> None:
    one = Members()
    assert one.core.primary is not None
    one.core.shard.state.facts["rejected"] = [0]
    one.core.tick(NOW + 10)
    tell(one, 0)
    assert told(one) == [0]
    tell(one, 1)
    assert told(one) == [1]
    one.core.shard.state.facts["rejected"] = []
    one.core.tick(NOW + 20)
    assert told(one) == [0, 1]
