"""When a job is saved, decided without I/O: what counts as saved, what ends a save, whose word ends a server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest

from asgd.errors import TryAgain
from asgd.server.answers import PRIMARY
from asgd.server.core import TICK_SECONDS, ServerCore
from asgd.server.leaving import LEAVE_SECONDS
from asgd.server.saves.in_process import MemoryStore
from asgd.server.saves.saver import carry_out
from asgd.server.saving import (
    CHECK_SECONDS,
    SLOW_SECONDS,
    CheckTerm,
    Outcome,
    Publish,
    StoreFacts,
    Wish,
    WritePart,
    patience,
)
from asgd.wire.messages import Beat, Beaten, Bye, Command, Done, Exchange, Fault, Hello, Init
from asgd.wire.reports import SaveReport
from tests.checks.harness import as_frame
from tests.checks.virtual import job

SIZE = 6


@dataclass
class Server:
    """A core that is driven by hand: `now` is its clock, and the store does what it is told when the test says so."""

    core: ServerCore
    store: MemoryStore
    now: float = 0.0
    sequence: int = 0
    wishes: list[Wish] = field(default_factory=list)

    def join(self) -> None:
        part = SIZE // self.core.shard.shards
        self.core.receive("worker", Hello("check", "worker", 0, 1, SIZE, "layout"), None, self.now)
        self.core.receive("worker", Init(0, 1, 0), as_frame(np.ones(part, np.float32)), self.now)

    def push(self) -> None:
        self.sequence += 1
        vector = np.ones(SIZE // self.core.shard.shards, np.float32)
        message = Exchange(0, 1, self.sequence, 0, self.core.shard.state.version, 8, 1, False, True)
        self.core.receive("worker", message, as_frame(vector), self.now)

    def tick(self, seconds: float = TICK_SECONDS) -> list[Any]:
        self.now += seconds
        return [message for _, message, _ in self.core.tick(self.now)]

    def wish(self) -> Wish | None:
        return self.core.wish(self.now)

    def carry_out(self, wish: Wish) -> Outcome:
        """The store answers."""
        outcome = carry_out(self.store, wish, lambda: self.now)
        self.core.done(outcome, self.now)
        return outcome

    def save(self) -> list[Wish]:
        """Ticks and does what is wished until nothing is; what was done."""
        done = []
        for _ in range(4):
            self.tick()
            while wish := self.wish():
                self.carry_out(wish)
                done.append(wish)
        return done

    def beat(self, seconds: float) -> None:
        """Time passes in ticks, with a worker that lives."""
        for _ in range(round(seconds)):
            self.core.receive("worker", Beat("worker", 0, 1), None, self.now)
            self.tick(1.0)


def server(**spec: Any) -> Server:
    store = MemoryStore()
    patient = {
        "progressDeadlineSeconds": 1e6
    }  # the worker of these tests beats and pushes when it is told to
    given = {"stopAfter": {"updates": 1000}, "workers": patient, **spec}
    core = ServerCore(job(**given), 0, store.claim_term(0), store=StoreFacts("memory:"))
    made = Server(core, store)
    made.join()
    return made


def test_a_save_that_is_asked_for_while_a_manifest_is_written_is_made_after_it() -> None:
    one = server()
    one.push()
    one.tick()
    part = one.wish()
    assert isinstance(part, WritePart)
    one.carry_out(part)
    one.tick()
    manifest = one.wish()
    assert isinstance(manifest, Publish)
    one.push()
    one.core.leave(one.now)
    assert not one.core.may_leave(one.now)
    one.carry_out(manifest)
    one.tick()
    assert not one.core.may_leave(one.now), "the newest push is in no save yet"
    one.save()
    assert one.core.may_leave(one.now + 0.01)
    newest = one.store.manifests[max(one.store.manifests)]
    assert newest.updates == 2 and newest.parts[0].version == 2


def test_a_server_that_leaves_does_not_count_a_save_whose_manifest_is_not_written() -> None:
    one = server()
    one.push()
    one.core.leave(one.now)
    one.tick()
    part = one.wish()
    assert part is not None
    one.carry_out(part)
    one.tick()
    manifest = one.wish()
    assert isinstance(manifest, Publish)
    one.store.refusal = "the disk is full"
    assert one.carry_out(manifest).error == "the disk is full"
    assert not one.core.may_leave(one.now), "nothing is saved"
    assert one.core.primary is not None
    assert one.core.primary.status(one.now).checkpoint_error == "the disk is full"
    assert one.core.may_leave(one.now + LEAVE_SECONDS + 1), "and nobody waits for ever"


def test_a_store_that_never_answers_is_told_and_its_save_is_given_up_in_time() -> None:
    one = server(checkpoint={"everySeconds": 1})
    one.push()
    one.tick()
    assert isinstance(one.wish(), WritePart)
    primary = one.core.primary
    assert primary is not None
    one.beat(SLOW_SECONDS + 2)
    assert "has not answered for 1" in primary.status(one.now).checkpoint_error
    assert one.core.notes == ["the checkpoint store has not answered for 11 s; training goes on"]
    primary.coordinator.stop("stopped", one.now)
    one.beat(2 * patience(4 * SIZE) + 5)
    assert primary.coordinator.phase in ("evaluating", "finished")
    assert one.wish() is None, "it is still at the first one"


def test_when_the_store_answers_at_last_saves_go_on() -> None:
    one = server(checkpoint={"everySeconds": 1})
    one.push()
    one.tick()
    late = one.wish()
    assert late is not None
    one.beat(patience(4 * SIZE) + 5)
    one.push()
    one.carry_out(late)
    one.beat(3)
    one.save()
    assert one.store.manifests[max(one.store.manifests)].updates == 2
    assert one.core.notes[-1] == "the checkpoint store answers again"


def test_a_save_waits_only_so_long_for_a_shard_that_never_writes_its_part() -> None:
    store = MemoryStore()
    spec = job(stopAfter={"updates": 1000}, parameterServer={"shards": 2})
    one = Server(ServerCore(spec, 0, store.claim_term(0), store=StoreFacts("memory:")), store)
    one.join()
    one.push()
    one.save()
    assert one.core.primary is not None and one.core.primary.collecting is not None
    assert one.core.primary.collecting.under_way == 1
    one.beat(2 * patience(4 * SIZE) + 5)
    error = one.core.primary.status(one.now).checkpoint_error
    assert "checkpoint 1 was given up" in error and "shard 1 has not written its part" in error


def test_a_save_fails_soon_when_a_shard_has_no_weights_and_nobody_brings_any() -> None:
    spec = job(stopAfter={"updates": 1000}, parameterServer={"shards": 2})
    store = MemoryStore()
    core = ServerCore(spec, 1, store.claim_term(1), store=StoreFacts("memory:"))
    one = Server(core, store)
    assert core.participant is not None and core.saving is not None
    core.participant.hear(Beaten(save=3))
    for _ in range(40):
        one.tick(1.0)
    report = core.participant.beat(one.now).report
    assert (report.save, report.part) == (3, None)
    assert report.error == "shard 1 has no weights, and nobody brings any"


@pytest.mark.parametrize("under_way", [False, True])
def test_a_shard_that_an_earlier_shard_0_has_asked_for_later_saves_is_asked_for_one_that_it_makes(
    under_way: bool,
) -> None:
    """The store has refused those saves, so that a new shard 0 finds no number of them there."""
    spec = job(
        stopAfter={"updates": 1000}, parameterServer={"shards": 2}, checkpoint={"everySeconds": 10_000}
    )
    store = MemoryStore()
    first, second = (
        Server(ServerCore(spec, index, store.claim_term(index), store=StoreFacts("memory:")), store)
        for index in (0, 1)
    )
    for one in (first, second):
        one.join()
        one.push()
    assert second.core.participant is not None
    second.core.participant.hear(Beaten(save=7, workers=1, members={0: 1}))
    store.refusal = "the disk is full"
    second.save()
    store.refusal = ""
    if under_way:
        first.save()
    for _ in range(60):
        for beat in second.tick():
            for _, told, _ in first.core.receive("second", beat, None, first.now):
                second.core.receive(PRIMARY, told, None, second.now)
        first.save()
        second.save()
    assert list(store.manifests) == [8]


@pytest.mark.parametrize("index", [0, 1])
def test_a_hello_that_names_a_huge_term_ends_no_server(index: int) -> None:
    store = MemoryStore()
    spec = job(stopAfter={"updates": 1000}, parameterServer={"shards": 2})
    one = Server(ServerCore(spec, index, store.claim_term(index), store=StoreFacts("memory:")), store)
    one.join()
    hello = Hello("check", "worker", 1, 1, SIZE, "layout", term=1 << 62)
    for _ in range(3):
        ((_, answer, _),) = one.core.receive("stranger", hello, None, one.now)
        assert isinstance(answer, Fault) and answer.code == "fenced"
    asked = one.wish()
    assert isinstance(asked, CheckTerm)
    assert not one.carry_out(asked).fenced
    assert not isinstance(one.wish(), CheckTerm), "the store is asked once for all three"
    before = one.core.shard.state.version
    one.push()
    assert one.core.shard.state.version == before + 1


def test_a_server_whose_successor_the_store_knows_ends() -> None:
    one = server()
    one.store.claim_term(0)
    one.core.receive("worker", Hello("check", "worker", 0, 1, SIZE, "layout", term=2), None, one.now)
    asked = one.wish()
    assert isinstance(asked, CheckTerm)
    assert one.carry_out(asked).fenced


def test_a_shard_that_hears_from_shard_0_that_it_was_replaced_asks_the_store() -> None:
    store = MemoryStore()
    spec = job(stopAfter={"updates": 1000}, parameterServer={"shards": 2})
    one = Server(ServerCore(spec, 1, store.claim_term(1), store=StoreFacts("memory:")), store)
    one.core.receive(PRIMARY, Fault("fenced", "there is a shard 1 of term 2"), None, 1.0)
    assert isinstance(one.wish(), CheckTerm)


def test_a_server_that_nobody_can_tell_that_it_was_replaced_asks_the_store_now_and_then() -> None:
    one = server(checkpoint={"everySeconds": 10_000})
    one.save()
    one.store.claim_term(0)
    one.beat(CHECK_SECONDS - 2)
    assert one.wish() is None
    one.beat(4)
    asked = one.wish()
    assert isinstance(asked, CheckTerm)
    assert one.carry_out(asked).fenced


def test_whatever_a_stores_library_raises_costs_a_save_and_not_the_server() -> None:
    class Odd(MemoryStore):
        def write_manifest(self, manifest: Any) -> None:
            raise RuntimeError("a library's own surprise")

        def prune(self, keep: int, spared: Collection[int] = ()) -> None:
            raise TryAgain("not reached")

    one = server()
    one.store = Odd()
    one.store.claim_term(0)
    one.push()
    one.save()
    assert one.core.primary is not None
    assert "a library's own surprise" in one.core.primary.status(one.now).checkpoint_error


def test_who_asks_is_told_the_saves_that_the_store_holds_and_the_final_one_before_the_final_evaluation() -> (
    None
):
    one = server(checkpoint={"keep": 2}, stopAfter={"updates": 3})
    told: list[list[int]] = []
    for _ in range(3):
        one.push()
        one.core.receive("run", Command("save"), None, one.now)
        one.save()
        told.append([save.updates for save in saves(one)])
    assert told[:2] == [[1], [1, 2]]
    one.core.receive("worker", Bye("worker", 0, 1), None, one.now)
    while not (beaten := heard(one)).final:
        assert one.now < 60
        one.save()
    assert [save.number for save in saves(one)] == sorted(one.store.manifests)[-2:]
    assert beaten.saved == saves(one)[-1].number and saves(one)[-1].updates == 3
    assert saves(one)[-1].uri == f"memory:/{beaten.saved:06d}" and saves(one)[-1].bytes > 0


def saves(one: Server) -> list[SaveReport]:
    answer = one.core.receive("asker", Command("saves"), None, one.now)[-1][1]
    assert isinstance(answer, Done)
    return msgspec.msgpack.decode(answer.body, type=list[SaveReport])


def heard(one: Server) -> Beaten:
    answer = one.core.receive("heart", Beat("evaluator", 0, 1), None, one.now)[-1][1]
    assert isinstance(answer, Beaten)
    return answer
