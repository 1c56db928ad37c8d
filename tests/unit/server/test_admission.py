"""What cannot be true, or is not its sender's to say, is refused, counted, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from asgd.server.admission import LOST_MOST
from asgd.server.speakers import Speakers
from asgd.spec.durations import Spread
from asgd.spec.status import WorkerTimes
from asgd.wire import limits
from asgd.wire.messages import (
    AnyMessage,
    Beat,
    Beaten,
    Bye,
    Command,
    Done,
    Evaluated,
    Exchange,
    Gathered,
    Granted,
    Hello,
    Init,
    Judged,
    Lease,
    Pull,
    Reply,
    Welcome,
)
from asgd.wire.reports import ShardReport, WorkerReport
from tests.unit.server.members import (
    BATCH,
    NOW,
    SAMPLES,
    SIZE,
    STARTED,
    TENSORS,
    Members,
    beat,
    hello,
    is_fault,
)

DAY = 86_400 * 10**9


def exchange(**fields: Any) -> Exchange:
    given = {"samples": BATCH, "steps": 1, "pull": False, "finite": True}
    return Exchange(0, STARTED, 1, 0, 0, **(given | fields))


def times(counts: dict[int, int], seconds: float = 1.0) -> WorkerReport:
    return WorkerReport(WorkerTimes(own=Spread(counts, seconds)))


BAD: list[tuple[str, Any, AnyMessage]] = [
    ("term", "new", hello(2, term=7)),
    ("fenced", "new", hello(2, term=7)),
    ("size", "new", Hello("check", "worker", 2, STARTED, 10**12, "layout", SAMPLES)),
    ("size", "new", Hello("check", "worker", 2, STARTED, SIZE + 1, "layout", SAMPLES)),
    ("size", "new", Hello("check", "evaluator", 0, STARTED, 0, "layout")),
    ("layout", "new", Hello("check", "worker", 2, STARTED, SIZE, "another", SAMPLES)),
    ("layout", "new", hello(2, dataset=SAMPLES - 1)),
    ("layout", "new", hello(2, dataset=None)),
    ("job", "new", Hello("another", "worker", 2, STARTED, SIZE, "layout", SAMPLES)),
    ("role", "new", Hello("check", "shard", 1, STARTED, SIZE, "layout", SAMPLES)),
    ("index", "new", hello(4)),
    ("incarnation", "new", msgspec.structs.replace(hello(2), incarnation=STARTED + 2 * DAY)),
    ("seen", "new", hello(2, seen=LOST_MOST + 1)),
    ("seen", "new", hello(2, past=[(1, LOST_MOST + 1, 0)])),
    ("seen", "new", hello(2, samples=limits.TOTAL_MOST)),
    ("tensors", "new", hello(2, tensors=b"not JSON")),
    ("tensors", "new", hello(2, tensors=b'{"layer": 8}')),
    ("tensors", "new", hello(2, tensors=b'[["layer", [-8]]]')),
    ("tensors", "new", hello(2, tensors=b'[["layer", [9]]]')),
    ("speaker", 0, hello(2)),
    ("visits", 0, exchange(visits=[(0, 8, 0)])),
    ("visits", 0, exchange(visits=[(0, 8, 8)])),
    ("visits", 0, exchange(visits=[(0, 0, SAMPLES + 1)], samples=SAMPLES + 1)),
    ("visits", 0, exchange(visits=[(0, 8, 16)])),
    ("visits", 0, exchange(visits=[(limits.EPOCH_MOST, 0, 8)])),
    ("visits", 0, exchange(visits=[(0, 0, 8), (0, 0, 8)])),
    ("figures", 0, exchange(meta={"alpha": math.nan})),
    ("figures", 0, exchange(meta={"alpha": -math.inf})),
    ("figures", 0, exchange(meta={"send": 1e300})),
    ("codec", 0, exchange(codec="zip")),
    ("codec", 0, exchange(answer="zip")),
    ("codec", 0, Pull("worker", 0, STARTED, 0, 1, "zip")),
    ("speaker", 1, exchange()),
    ("speaker", 1, Pull("worker", 0, STARTED, 0, 1)),
    ("speaker", 1, Init(0, STARTED, 0)),
    ("speaker", 1, Lease(0, STARTED, 2)),
    ("order", 0, Lease(0, STARTED, 0)),
    ("speaker", 1, beat(0)),
    ("speaker", 1, Beat("shard", 1, 1, ShardReport())),
    ("shard", "new", Beat("shard", 2, 1, ShardReport())),
    ("shard", "new", Beat("shard", 0, 1, ShardReport())),
    ("protocol", "new", Beat("shard", 1, 1, WorkerReport())),
    ("protocol", "new", Beat("shard", 1, 1)),
    ("report", 0, Beat("worker", 0, STARTED, times({10**6: 1}))),
    ("report", 0, Beat("worker", 0, STARTED, times({-1: 1}))),
    ("report", 0, Beat("worker", 0, STARTED, times({3: -1}))),
    ("report", 0, Beat("worker", 0, STARTED, times({3: 1 << 60}))),
    ("report", 0, Beat("worker", 0, STARTED, times({3: 1}, math.nan))),
    ("report", 0, Beat("worker", 0, STARTED, times({3: 1}, -1.0))),
    ("report", 0, Beat("worker", 0, STARTED, WorkerReport(buffers=b"123"))),
    ("speaker", 0, Bye("worker", 1, STARTED)),
    ("speaker", 0, Bye("worker", 1, STARTED, lost=True)),
    ("speaker", 0, Bye("evaluator", 0, 0)),
    ("speaker", 0, Command("stop", "interrupted")),
    ("speaker", 0, Command("save")),
    ("reason", "new", Command("stop", "because I say so; rm -rf /")),
    ("role", "new", Evaluated(1, 8, {"accuracy": 1.0}, True)),
    ("role", "new", Evaluated(1, 8, {"accuracy": 1.0}, False, "worker", 3, STARTED)),
    ("role", "new", Evaluated(1, 8, {"accuracy": 1.0}, False, "worker", 0, STARTED + 1)),
    ("role", "new", Evaluated(1, 8, {"accuracy": 1.0}, False, "shard", 1, 1)),
    ("speaker", 1, Evaluated(1, 8, {"accuracy": 1.0}, False, "worker", 0, STARTED)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "sender", "message"),
    BAD,
    ids=[f"{i}-{reason}-{type(message).__name__}" for i, (reason, _, message) in enumerate(BAD)],
)
def test_a_message_that_cannot_be_true_or_said_is_refused_counted_and_changes_nothing(
    reason: str, sender: Any, message: AnyMessage
) -> None:
    members = Members(store=reason != "term")
    assert members.lease(0, 1) == (0, 0, 8)
    before = members.held
    try:
        answer = members.say(sender, message)
    except Exception as error:
        assert reason == "protocol", error
        answer = members.core.refuse(sender, message, "protocol", str(error))
    plain = reason in ("layout", "job", "fenced", "protocol")
    assert is_fault(answer, reason if plain else f"refused:{reason}"), answer
    assert members.held == before
    peer = "other" if sender == "new" else f"worker {sender}"
    assert sum(members.refused.values()) == 1
    assert members.refused.get((peer, reason)) == 1 or sender == "new", members.refused
    assert members.core.primary is not None
    assert members.core.primary.status(NOW).refused_messages == {reason: 1}


GOOD: list[tuple[str, Any, AnyMessage, type[AnyMessage]]] = [
    ("a third worker", "new", hello(2), Welcome),
    ("the highest index", "new", hello(3), Welcome),
    ("one whose clock is ahead", "new", msgspec.structs.replace(hello(2), incarnation=STARTED + DAY), Welcome),
    ("one that has seen more than there is", "new", hello(2, seen=1000, samples=8000), Welcome),
    ("an evaluator", "new", Hello("check", "evaluator", 0, STARTED, SIZE, "layout"), Welcome),
    ("a worker that comes again on its connection", 0, hello(0), Welcome),
    ("a push of leased samples", 0, exchange(visits=[(0, 0, 8)]), Reply),
    ("a push without visits", 0, exchange(), Reply),
    ("a push whose loss is none", 0, exchange(loss=math.nan, finite=False), Reply),
    ("a push with figures", 0, exchange(meta={"alpha": 0.1, "send": 2.0**53}), Reply),
    ("a pull", 0, Pull("worker", 0, STARTED, 0, 1), Reply),
    ("a lease", 0, Lease(0, STARTED, 1), Granted),
    ("the next one", 0, Lease(0, STARTED, 2), Granted),
    ("a heartbeat", 0, Beat("worker", 0, STARTED, times({3: 5})), Beaten),
    ("buffers", 0, Beat("worker", 0, STARTED, WorkerReport(buffers=bytes(8))), Beaten),
    ("a shard's report", "new", Beat("shard", 1, 1, ShardReport()), Beaten),
    ("an evaluator's heartbeat", "new", Beat("evaluator", 0, STARTED), Beaten),
    ("a death told by who started the worker", "new", Bye("worker", 1, STARTED, lost=True), Done),
    ("a worker's own goodbye", 1, Bye("worker", 1, STARTED), Done),
    ("the same on a new connection", "new", Bye("worker", 1, STARTED), Done),
    ("the end of the job by who started it", "new", Command("stop", "interrupted"), Done),
    ("a status for anybody", 0, Command("status"), Done),
    ("the saves for an evaluator", "new", Command("saves"), Done),
    ("a result of a worker's own loop", "new", Evaluated(1, 8, {"accuracy": 0.5}, False, "worker", 0, STARTED), Done),
]  # fmt: skip


@pytest.mark.parametrize(("what", "sender", "message", "answer"), GOOD, ids=[what for what, *_ in GOOD])
def test_what_members_say_is_admitted(
    what: str, sender: Any, message: AnyMessage, answer: type[AnyMessage]
) -> None:
    members = Members()
    members.lease(0, 1)
    payload = bytes(4 * members.core.shard.state.weights.size) if isinstance(message, Exchange) else None
    assert isinstance(members.say(sender, message, payload), answer), what
    assert members.refused == {}


def test_an_evaluator_that_has_joined_may_tell_its_result() -> None:
    members = Members()
    members.say("heart", Beat("evaluator", 0, STARTED))
    assert members.say("asker", Evaluated(1, 8, {"accuracy": 0.5}, False)) == Done(b"1"), "the update count"
    assert members.core.primary is not None
    assert members.core.primary.coordinator.metrics == {"accuracy": 0.5}


def test_visits_of_a_time_before_a_restart_are_let_through() -> None:
    """Who leased them knows; the server that gave them out is gone."""
    members = Members(store=False)
    assert isinstance(members.push(0, 1, visits=[(3, 0, 8)]), Reply)
    assert members.refused == {}


def test_a_late_repetition_of_a_request_leases_nothing_that_nobody_knows_of() -> None:
    members = Members()
    first, second = members.lease(0, 1), members.lease(0, 2)
    assert members.lease(0, 2) == second != first
    assert is_fault(members.say(0, Lease(0, STARTED, 1)), "refused:order")
    assert members.lease(0, 3) == (0, second[2], second[2] + 8)


def test_a_push_without_the_figures_that_its_strategy_needs_is_refused() -> None:
    members = Members(algorithm={"name": "easgd", "beta": 0.9, "period": 4})
    before = members.held
    assert is_fault(members.push(0, 1), "refused:figures")
    assert members.held == before
    assert isinstance(members.push(0, 1, meta={"alpha": 0.5}), Reply)


def test_sums_stay_in_63_bits_whatever_is_accepted() -> None:
    members = Members()
    chief = members.core.primary
    assert chief is not None
    for total in (members.core.shard.state, chief.coordinator):
        total.samples = limits.COUNT_MOST * (2**32 - 1)
    assert isinstance(members.push(0, 1, samples=limits.COUNT_MOST), Reply)
    assert chief.coordinator.samples == limits.COUNT_MOST * 2**32
    msgspec.msgpack.encode(members.held["job"])
    assert isinstance(members.say("new", hello(2)), Welcome)
    lost = LOST_MOST * limits.TERM_MOST
    assert lost < 2**63


# -- rounds --------------------------------------------------------------------------------------------------------


def gathering(**algorithm: Any) -> Members:
    """Both workers have pushed to a round; this shard has measured its part, and waits for the other's report."""
    members = Members(algorithm=algorithm)
    for worker in (0, 1):
        assert isinstance(members.push(worker, 1, base=0), Reply)
    have = [(0, 1), (1, 1)]
    members.say("shard 1", Gathered(1, 1, 1, 0, have))
    members.core.settle(NOW)
    assert members.core.rounds is not None
    assert members.core.rounds.part.dimensions[0] == 1, "it was measured"
    return members


def measured(shard: int = 1, **measures: Any) -> Gathered:
    return Gathered(shard, 1, 1, 0, [(0, 1), (1, 1)], 1, measures)


@pytest.mark.parametrize(
    ("reason", "sender", "message"),
    [
        ("shard", "new", measured(2, gram=[[1.0, 0.0], [0.0, 1.0]])),
        ("shard", "new", measured(0, gram=[[1.0, 0.0], [0.0, 1.0]])),
        ("speaker", 0, measured(gram=[[1.0, 0.0], [0.0, 1.0]])),
        ("measures", "shard 1", measured(gram=[["1.0", "0.0"], ["0.0", "1.0"]])),
        ("measures", "shard 1", measured(gram=[[1.0, 0.0], [0.0]])),
        ("measures", "shard 1", measured(gram=[[math.nan, 0.0], [0.0, 1.0]])),
        ("measures", "shard 1", measured(gram=[[1e999, 0.0], [0.0, 1.0]])),
        ("measures", "shard 1", measured(gram=[1.0, 2.0])),
        ("measures", "shard 1", measured(gram=[[[1.0]]])),
        ("measures", "shard 1", measured(gram=7)),
        ("measures", "shard 1", measured(gram={"0": 1.0})),
        ("measures", "shard 1", measured(mass=[[1.0, 0.0], [0.0, 1.0]])),
        ("measures", "shard 1", measured(gram=[[1.0, 0.0], [0.0, 1.0]], more=[1.0])),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_report_on_a_round_that_cannot_be_true_is_refused(
    reason: str, sender: Any, message: Gathered
) -> None:
    members = gathering(name="krum", byzantine=0)
    before = members.held
    assert is_fault(members.say(sender, message), f"refused:{reason}")
    members.core.settle(NOW)
    assert members.held == before
    members.say("shard 1", measured(gram=[[1.0, 0.0], [0.0, 1.0]]))
    members.core.settle(NOW)
    assert members.core.shard.state.version == 2, "the round closes by the shard's true word"


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_losses_that_are_not_as_many_as_were_asked_for_are_refused(count: int) -> None:
    members = gathering(name="zeno", byzantine=1)
    members.say("heart", Beat("evaluator", 0, STARTED))
    members.say("oracle", Judged(0, 0))
    members.say("shard 1", measured())
    members.core.settle(NOW)
    assert members.core.rounds is not None and members.core.rounds.table is not None
    question = members.core.rounds.table.question
    assert question is not None
    before = members.held
    answer = Judged(question.number, question.term, [0.5] * count)
    assert is_fault(members.say("oracle", answer), "refused:losses")
    assert is_fault(members.say(1, Judged(question.number, question.term, [0.5] * 3)), "refused:speaker")
    assert members.held == before


# -- on other shards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("refused:dataset", lambda: hello(2, dataset=SAMPLES + 1)),
        ("refused:speaker", lambda: hello(2)),
        ("refused:size", lambda: Hello("check", "worker", 2, STARTED, 10**12, "layout", SAMPLES)),
        ("refused:tensors", lambda: hello(2, tensors=TENSORS[:-1])),
    ],
)
def test_other_shards_refuse_alike(code: str, make: Callable[[], Hello]) -> None:
    members = Members(index=1)
    before = members.held
    assert is_fault(members.say(0 if code == "refused:speaker" else "new", make()), code)
    assert members.held == before


# -- who speaks ----------------------------------------------------------------------------------------------------


def test_of_very_many_connections_the_oldest_are_forgotten() -> None:
    speakers = Speakers()
    for sender in range(Speakers.MOST + 10):
        speakers.note(sender, beat(sender % 10_000))
    assert speakers.get(9) is None and speakers.get(10) == ("worker", 10)
    assert speakers.get(Speakers.MOST + 9) is not None


def test_refusals_are_counted_under_a_bounded_number_of_names() -> None:
    members = Members()
    for index in range(20_000):
        members.core.traffic.refuse(f"worker {index}", "visits")
    assert len(members.refused) <= 1001
    assert sum(members.refused.values()) == 20_000
