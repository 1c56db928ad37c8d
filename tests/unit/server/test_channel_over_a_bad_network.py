"""A worker's channel and a shard over a network that loses, repeats and reorders; the server dies and comes back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asgd.errors import TryAgain, UserError, VersionMismatch
from asgd.kernel import F32
from asgd.server.shard import Parked, Shard
from asgd.spec.types import Codec
from asgd.wire.messages import (
    AnyMessage,
    Done,
    Exchange,
    Fault,
    Hello,
    Init,
    Message,
    Pull,
    Reply,
    Welcome,
    decode,
    encode,
)
from asgd.wire.partition import Range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from tests.checks.harness import as_frame, asgd_spec
from tests.unit.server.peers import make_shard, reborn

SIZE, RATE = 22, 0.5


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


Letter = tuple[Message, Any]


class BadNetwork:
    """Both directions between one worker and one shard; with `trouble` 0 it is a good one."""

    name = "bad"
    window = announced = 4
    run = 1

    def __init__(self, shard: Shard, seed: int, trouble: float) -> None:
        self.shard, self.trouble = shard, trouble
        self.random = random.Random(seed)
        self.out: list[Letter] = []
        self.back: list[Letter] = []

    def send(self, message: Message, payload: Any = None) -> None:
        self.out.append((decode(encode(message)), as_frame(payload)))

    def receive(self) -> tuple[AnyMessage, Any] | None:
        raise AssertionError("letters are delivered by `carry`")

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def returned(self) -> bool:
        return False

    def waits(self, now: float) -> bool:
        return False

    def close(self) -> None:
        self.out.clear()

    def pick(self, letters: list[Letter]) -> Letter | None:
        """The next letter: usually the oldest; a troubled network may take another, keep a copy, or lose it."""
        if not letters:
            return None
        at = self.random.randrange(len(letters)) if self.random.random() < self.trouble else 0
        letter = letters[at]
        if self.random.random() >= self.trouble:
            del letters[at]
        return None if self.random.random() < self.trouble else letter

    def carry(self, channel: Channel, now: float) -> None:
        """One letter in each direction, perhaps."""
        if letter := self.pick(self.out):
            self.back.append(self.serve(*letter))
        if letter := self.pick(self.back):
            channel.handle(decode(encode(letter[0])), letter[1], now)

    def serve(self, message: Message, payload: Any) -> Letter:
        match message:
            case Hello():
                return self.shard.hello(message), None
            case Init():
                return self.shard.init(message, payload) or Done(), None
            case Exchange() | Pull():
                return self.answer(message, payload)
        raise AssertionError(message)

    def answer(self, message: Exchange | Pull, payload: Any) -> Letter:
        try:
            got = (
                self.shard.exchange(message, payload)
                if isinstance(message, Exchange)
                else self.shard.pull(message)
            )
        except Parked:
            return self.shard.reply(message.index, 0, message.chunk, "waiting", False), None
        pulls = isinstance(message, Pull) or message.pull
        carries = pulls and isinstance(got, Reply)
        return got, as_frame(self.shard.payload(got, message, message.index) if carries else None)


def worker(network: BadNetwork, how: Codec | None = None, split: bool = False) -> Channel:
    identity = PeerIdentity(job="job", role="worker", index=0, incarnation=1, size=SIZE, layout="layout")
    channel = Channel(network, identity, how or Codec(), 0, Range(0, SIZE), split)
    channel.bring = lambda: np.ones(SIZE, np.float32)
    channel.hello(0.0)
    return channel


class Clock:
    """Virtual time that goes on until something holds."""

    def __init__(self) -> None:
        self.now = 0.0

    def until(
        self, network: BadNetwork, channel: Channel, holds: Callable[[], bool], most: int = 20_000
    ) -> None:
        for _ in range(most):
            if holds():
                return
            self.now += 0.02
            network.carry(channel, self.now)
            channel.tick(self.now)
        raise AssertionError("it never came to an end")


def exchange(channel: Channel, clock: Clock, sequence: int, vector: F32, into: F32 | None) -> None:
    channel.start(
        vector,
        PushHeader(sequence=sequence, samples=8, steps=1, loss=0.5),
        into,
        clock.now,
    )


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_every_push_is_in_the_weights_once_whatever_the_network_does(seed: int, split: bool) -> None:
    network, clock = BadNetwork(make_shard(asgd_spec(RATE)), seed, trouble=0.25), Clock()
    channel = worker(network, split=split)
    rng = np.random.default_rng(seed)
    expected, pulled = np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32)
    for sequence in range(1, 9):
        vector = rng.standard_normal(SIZE).astype(np.float32)
        exchange(channel, clock, sequence, vector, pulled)
        clock.until(network, channel, lambda: not channel.busy)
        expected += vector * np.float32(-RATE)
        assert np.array_equal(network.shard.state.weights, expected)
        assert np.array_equal(pulled, expected)
        assert (channel.version, network.shard.state.version) == (sequence, sequence)
        if sequence % 3 == 0:
            network.shard = reborn(network.shard, network.shard.term + 1)
    assert channel.term == network.shard.term


@pytest.mark.parametrize("name", ["int8", "topk", "onebit"])
@pytest.mark.parametrize("seed", range(4))
def test_error_feedback_encodes_a_push_once_however_often_it_is_sent(seed: int, name: str) -> None:
    how = Codec(push=name, block_size=16, top_ratio=0.3)
    spec = asgd_spec(1.0, codec={"push": name, "blockSize": 16, "topRatio": 0.3})
    network, clock = BadNetwork(make_shard(spec), seed, trouble=0.25), Clock()
    channel = worker(network, how)
    rng, pushed = np.random.default_rng(seed), np.zeros(SIZE)
    for sequence in range(1, 9):
        vector = rng.standard_normal(SIZE).astype(np.float32)
        pushed += vector
        exchange(channel, clock, sequence, vector, None)
        clock.until(network, channel, lambda: not channel.busy)
    assert channel.outgoing.encoder.residual is not None
    moved = 1 - network.shard.state.weights
    np.testing.assert_allclose(moved + channel.outgoing.encoder.residual, pushed, atol=1e-5)


@pytest.mark.parametrize("name", ["int8", "topk", "onebit"])
@pytest.mark.parametrize("seed", range(8))
def test_differences_lead_to_the_servers_weights_whatever_the_network_does(seed: int, name: str) -> None:
    """What the worker holds is what the shard believes it holds, and never a difference on top of the wrong state."""
    how = Codec(pull=name, block_size=16, pull_top_ratio=0.3)
    spec = asgd_spec(RATE, codec={"pull": name, "blockSize": 16, "pullTopRatio": 0.3})
    network, clock = BadNetwork(make_shard(spec), seed, trouble=0.25 if seed else 0.0), Clock()
    channel = worker(network, how, split=seed % 2 == 1)
    rng, wholes = np.random.default_rng(seed), 0
    pulled = np.zeros(SIZE, np.float32)
    for sequence in range(1, 13):
        vector = rng.standard_normal(SIZE).astype(np.float32) if sequence < 6 else np.zeros(SIZE, np.float32)
        exchange(channel, clock, sequence, vector, pulled)
        clock.until(network, channel, lambda: not channel.busy)
        wholes += np.array_equal(pulled, network.shard.state.weights)
        if sequence == 3:
            network.shard = reborn(network.shard, network.shard.term + 1)
    if not seed:
        assert wholes >= 2, "whole weights after the join and after the restart"
    for sequence in range(13, 40):
        exchange(channel, clock, sequence, np.zeros(SIZE, np.float32), pulled)
        clock.until(network, channel, lambda: not channel.busy)
    assert np.abs(pulled - network.shard.state.weights).max() < 0.05


def test_an_evaluator_gets_whole_weights_when_workers_get_differences() -> None:
    shard = make_shard(asgd_spec(RATE, codec={"pull": "int8", "push": "topk"}))
    network, clock = BadNetwork(shard, 0, trouble=0.0), Clock()
    channel = worker(network, Codec(pull="int8", push="topk"))
    clock.until(network, channel, lambda: channel.joined)
    asked = Pull("evaluator", 7, 1, 0, 1)
    reply = shard.pull(asked)
    assert isinstance(reply, Reply)
    payload = shard.payload(reply, asked, -1)
    assert (reply.codec, reply.state) == ("fp32", 0) and np.array_equal(payload, np.ones(4))
    assert shard.shadows is not None and shard.shadows.nbytes == 0


def test_a_server_that_dies_in_the_middle_of_a_push_gets_the_rest_and_nothing_twice() -> None:
    network, clock = BadNetwork(make_shard(asgd_spec(RATE)), 0, trouble=0.0), Clock()
    channel = worker(network)
    clock.until(network, channel, lambda: channel.joined)
    vector, pulled = np.arange(SIZE, dtype=np.float32), np.zeros(SIZE, np.float32)
    exchange(channel, clock, 1, vector, pulled)
    clock.until(network, channel, lambda: network.shard.seen[0].chunks == 3)
    network.shard = reborn(network.shard, 2)
    network.out.clear()
    network.back.clear()
    clock.until(network, channel, lambda: not channel.busy)
    assert np.array_equal(pulled, 1 - RATE * vector)
    assert (network.shard.state.version, channel.term, network.shard.losses.updates) == (1, 2, 0)


def test_after_a_rollback_the_stale_base_is_refused_once_and_then_training_goes_on() -> None:
    network, clock = BadNetwork(make_shard(asgd_spec(RATE)), 0, trouble=0.0), Clock()
    channel = worker(network)
    pulled = np.zeros(SIZE, np.float32)
    verdicts = []
    for sequence in range(1, 7):
        if sequence == 2:
            old = reborn(network.shard, 2)
        if sequence == 5:
            network.shard = old
        exchange(channel, clock, sequence, np.ones(SIZE, np.float32), pulled)
        clock.until(network, channel, lambda: not channel.busy)
        verdicts.append(channel.verdict)
    assert verdicts == ["applied"] * 4 + ["refused:rollback", "applied"]
    assert (network.shard.losses.updates, network.shard.state.version) == (3, 2)
    assert np.array_equal(pulled, np.full(SIZE, 1 - 2 * RATE))


def test_a_server_of_a_lower_term_is_not_listened_to() -> None:
    network, clock = BadNetwork(make_shard(asgd_spec(RATE), term=5), 0, trouble=0.0), Clock()
    channel = worker(network)
    clock.until(network, channel, lambda: channel.joined)
    pulled = np.zeros(SIZE, np.float32)
    exchange(channel, clock, 1, np.ones(SIZE, np.float32), pulled)
    for chunk in range(6):
        zombie = Reply(4, 1, chunk, 99, "applied", codec="fp32", stop="diverged")
        channel.handle(zombie, as_frame(np.full(4, 77, np.float32)), clock.now)
    assert channel.busy and not channel.stop and not pulled.any()
    clock.until(network, channel, lambda: not channel.busy)
    channel.hello(clock.now)
    channel.handle(Welcome(4, 0, 1, 0, 0, SIZE, 4, True, False), None, clock.now)
    assert not channel.joined
    clock.until(network, channel, lambda: channel.joined)
    assert channel.term == 5


def test_a_pull_that_is_held_back_is_answered_when_its_time_has_come() -> None:
    spec = asgd_spec(RATE, exchange={"staleness": {"max": 0, "policy": "Wait"}})
    network, clock = BadNetwork(make_shard(spec), 0, trouble=0.0), Clock()
    channel = worker(network, split=True)
    clock.until(network, channel, lambda: channel.joined)
    network.shard.hello(Hello("job", "worker", 1, 1, SIZE, "layout"))
    pulled = np.zeros(SIZE, np.float32)
    exchange(channel, clock, 1, np.ones(SIZE, np.float32), pulled)
    with pytest.raises(AssertionError, match="never came"):
        clock.until(network, channel, lambda: not channel.busy, most=200)
    assert channel.verdict == "applied" and network.shard.state.version == 1
    network.shard.leave(1)
    clock.until(network, channel, lambda: not channel.busy)
    assert np.array_equal(pulled, np.full(SIZE, 1 - RATE))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("session", "a newer worker 0 has joined"), TryAgain),
        (Fault("layout", "this job's model has layout a, not b"), UserError),
        (Fault("job", "this is job x"), UserError),
        (Fault("refused:dataset", "this job's data has 8 samples, not 9"), UserError),
        (Fault("protocol", "payload"), VersionMismatch),
        (Fault("version", "peer speaks protocol 2, this version speaks 1"), VersionMismatch),
        (Fault("refused:codec", "codecs are fp32"), VersionMismatch),
        (Welcome(1, 0, 1, 0, 0, SIZE + 1, 4, True, False), VersionMismatch),
        (Welcome(1, 0, 1, 0, 0, SIZE, 8, True, False), VersionMismatch),
    ],
)
def test_what_no_retry_can_mend_ends_the_worker_with_the_servers_words(
    fault: Any, error: type[Exception]
) -> None:
    network = BadNetwork(make_shard(asgd_spec(RATE)), 0, trouble=0.0)
    channel = worker(network)
    with pytest.raises(error) as caught:
        channel.handle(fault, None, 0.0)
    assert getattr(fault, "text", "cuts the model differently") in str(caught.value)


def test_a_job_that_is_over_is_heard_at_hello_and_in_every_reply() -> None:
    network = BadNetwork(make_shard(asgd_spec(RATE)), 0, trouble=0.0)
    channel = worker(network)
    channel.handle(Fault("stopped", "epochs"), None, 0.0)
    assert channel.stop == "epochs" and channel.joined and not channel.busy
