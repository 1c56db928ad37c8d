"""The base of a push about one part is the version that the last pull of that part, or of everything, brought."""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd.spec.types import Codec
from asgd.wire.messages import Exchange, Message, Reply, Welcome
from asgd.wire.partition import CHUNK, Range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader

SIZE = 8


class Lane:
    """Keeps what is sent."""

    name, run = "kept", 1
    window = announced = 4

    def __init__(self) -> None:
        self.sent: list[tuple[Message, Any]] = []

    def send(self, message: Message, payload: Any = None) -> None:
        self.sent.append((message, payload))

    def polls(self) -> list[Any]:
        return []

    def receive(self) -> None:
        return None

    def returned(self) -> bool:
        return False

    def waits(self, now: float) -> bool:
        return False

    def close(self) -> None:
        return None


class Talk:
    """A worker and the answers of one shard."""

    def __init__(self) -> None:
        self.lane = Lane()
        identity = PeerIdentity(job="job", role="worker", index=0, incarnation=1, size=SIZE, layout="layout")
        self.channel = Channel(self.lane, identity, Codec(), 0, Range(0, SIZE), False)
        self.pulled = np.zeros(SIZE, np.float32)
        self.sequence = 0

    def welcome(self, term: int, membership: int = 0) -> None:
        self.channel.hello(0.0)
        welcome = Welcome(term, 0, 1, 0, 0, SIZE, CHUNK, True, False, membership=membership)
        self.channel.handle(welcome, None, 0.0)

    def push(self, part: int, parts: int, version: int) -> Exchange:
        """One exchange, answered with `version`; returns what was sent."""
        self.sequence += 1
        meta = PushHeader(
            sequence=self.sequence,
            samples=1,
            steps=1,
            finite=True,
            loss=None,
            visits=[],
            part=part,
            parts=parts,
        )
        self.channel.start(np.arange(SIZE, dtype=np.float32), meta, self.pulled, 0.0)
        message, payload = self.lane.sent[-1]
        assert isinstance(message, Exchange)
        answer = Reply(self.channel.term, self.sequence, 0, version, "applied", codec="fp32")
        self.channel.handle(answer, memoryview(np.full(payload.size, 9, np.float32)), 0.0)
        assert not self.channel.busy
        return message


def test_each_part_has_a_base_of_its_own() -> None:
    talk = Talk()
    talk.welcome(1)
    assert talk.push(0, 1, 3).base == 0
    assert talk.push(1, 2, 5).base == 3, "all of it was pulled at 3"
    assert talk.push(0, 2, 7).base == 3
    assert (talk.push(1, 2, 9).base, talk.push(0, 2, 11).base) == (5, 7)
    talk.push(0, 1, 20)
    assert talk.push(1, 2, 21).base == 20


def test_only_the_part_is_sent_and_taken() -> None:
    talk = Talk()
    talk.welcome(1)
    talk.push(1, 2, 1)
    assert talk.lane.sent[-1][1].tolist() == [4, 5, 6, 7]
    assert talk.pulled.tolist() == [0, 0, 0, 0, 9, 9, 9, 9]


def test_after_a_restart_of_the_shard_what_was_pulled_in_parts_is_no_base_any_more() -> None:
    talk = Talk()
    talk.welcome(1)
    talk.push(1, 2, 5)
    talk.welcome(2)
    assert talk.push(1, 2, 6).base == 0
