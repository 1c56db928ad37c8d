"""What the machine of restarts has found: a push that one shard has lost must hold nobody up on the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd.server.core import ServerCore
from asgd.spec.types import Codec
from asgd.wire.messages import AnyMessage, Bye, Exchange, Hello, Message, Pull, Reply, Welcome
from asgd.wire.partition import CHUNK, Range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from tests.checks.virtual import job
from tests.unit.server.peers import hello, push, ready_shard, verdict

SIZE = 4


class Wire:
    """A lane that keeps what is sent; `restarted` says that the server is another process since."""

    name, window, announced, run = "wire", 4, 4, 1

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.restarted = False

    def send(self, message: Message, payload: Any = None) -> None:
        self.sent.append(message)

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return None

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def returned(self) -> bool:
        before, self.restarted = self.restarted, False
        return before

    def waits(self, now: float) -> bool:
        return False

    def close(self) -> None:
        return None


def welcome(term: int) -> Welcome:
    return Welcome(
        term=term, shard=0, shards=1, version=0, start=0, stop=SIZE, chunk=CHUNK, ready=True, bring=False
    )  # fmt: skip


def pulled(asked: Pull, term: int) -> Reply:
    """The answer of the server's start number `term`."""
    return Reply(term=term, sequence=asked.request, chunk=0, version=0, verdict="pulled", codec="fp32")


def exchanging() -> tuple[Channel, Wire]:
    """A worker of a strategy in rounds whose push number 1 was acknowledged, and which waits for its pull."""
    wire = Wire()
    who = PeerIdentity(job="job", role="worker", index=0, incarnation=1, size=SIZE, layout="layout")
    channel = Channel(wire, who, Codec(), 0, Range(0, SIZE), split=True)
    channel.hello(0.0)
    channel.handle(welcome(1), None, 0.0)
    channel.start(
        np.ones(SIZE, np.float32), PushHeader(sequence=1, samples=8, steps=1), np.zeros(SIZE, np.float32), 0.0
    )
    channel.handle(Reply(term=1, sequence=1, chunk=0, version=1, verdict="applied"), None, 0.0)
    assert isinstance(wire.sent[-1], Pull)
    return channel, wire


def test_an_answer_of_a_start_that_has_not_welcomed_this_worker_is_answered_by_a_hello() -> None:
    channel, wire = exchanging()
    asked = wire.sent[-1]
    assert isinstance(asked, Pull)
    body = np.zeros(SIZE, np.float32).data.cast("B")
    channel.handle(pulled(asked, 2), body, 1.0)
    greeting = wire.sent[-1]
    assert isinstance(greeting, Hello) and (greeting.term, greeting.sequence) == (1, 1)
    assert channel.busy, "the exchange is not through"
    channel.handle(welcome(2), None, 1.0)
    again = wire.sent[-1]
    assert isinstance(again, Pull) and not isinstance(again, Exchange)


def test_a_worker_that_is_through_with_a_shard_tells_its_next_start_what_was_acknowledged() -> None:
    channel, wire = exchanging()
    asked = wire.sent[-1]
    assert isinstance(asked, Pull)
    body = np.zeros(SIZE, np.float32).data.cast("B")
    channel.handle(pulled(asked, 1), body, 1.0)
    assert not channel.busy
    sent = len(wire.sent)
    channel.tick(2.0)
    assert len(wire.sent) == sent, "nothing is to be said"
    wire.restarted = True
    channel.tick(2.0)
    greeting = wire.sent[-1]
    assert isinstance(greeting, Hello) and greeting.sequence == 1


def test_a_restored_shard_learns_from_a_hello_which_pushes_do_not_come_again() -> None:
    shard = ready_shard(SIZE)
    assert verdict(push(shard, 0, 1, np.ones(SIZE, np.float32))) == "applied"
    hello(shard, 0, 1, SIZE, sequence=3)
    assert shard.seen[0].sequence == 3
    assert verdict(push(shard, 0, 3, np.ones(SIZE, np.float32), base=1)) == "duplicate"
    assert verdict(push(shard, 0, 4, np.ones(SIZE, np.float32), base=1)) == "applied"


def test_a_goodbye_to_a_start_that_has_not_heard_of_this_worker_counts_as_the_end_of_its_loop() -> None:
    core = ServerCore(job(stopAfter={"updates": 100}, workers={"replicas": 2}), 0, 2)
    for index in (7_000, 0, 0):
        core.receive(index, Bye(role="worker", index=index, incarnation=1), None, 1.0)
    assert core.stop == ""
    core.receive(1, Bye(role="worker", index=1, incarnation=1), None, 2.0)
    assert core.stop == "ended"
