"""Exactly once: whatever is repeated, reordered, abandoned or restarted, each accepted push is in the weights once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asgd.kernel import F32
from asgd.server.shard import Shard
from asgd.wire.messages import Fault, Reply
from asgd.wire.partition import chunk_count, chunk_slice
from tests.checks.harness import asgd_spec
from tests.effort import examples
from tests.unit.server.peers import bring, hello, make_shard, push, reborn, snapshot

SIZE, RATE, MOST_STALE = 10, 0.5, 6
WORKERS = st.integers(0, 2)


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


@dataclass
class Sent:
    """A push as its worker keeps it until it is through."""

    worker: int
    incarnation: int
    sequence: int
    base: int
    vector: F32
    finite: bool = True
    done: int = 0


@dataclass
class Model:
    """What the shard must be: the chunks of accepted pushes, applied in the order of their replies."""

    weights: F32
    applied: set[tuple[int, int, int, int]] = field(default_factory=set)

    def copy(self) -> Model:
        return Model(self.weights.copy(), set(self.applied))


class OneShard(RuleBasedStateMachine):
    """Three workers push three-chunk vectors over a network that repeats and delays, at a server that restarts."""

    @initialize(optimizer=st.sampled_from(["sgd", "momentum", "adam"]))
    def begin(self, optimizer: str) -> None:
        how = {"momentum": 0.9} if optimizer == "momentum" else {"name": optimizer}
        staleness = {"max": MOST_STALE, "policy": "Refuse"}
        self.spec = asgd_spec(RATE, optimizer=how, exchange={"staleness": staleness})
        self.exact = optimizer == "sgd"
        self.term = 1
        self.shard: Shard = make_shard(self.spec)
        self.chunks = chunk_count(SIZE)
        self.incarnations = [1, 1, 1]
        self.sequences = [0, 0, 0]
        self.bases = [0, 0, 0]
        self.current: list[Sent | None] = [None, None, None]
        self.history: list[Sent] = []
        for worker in range(3):
            hello(self.shard, worker, 1, SIZE)
        bring(self.shard, 0, 1, np.ones(SIZE, np.float32))
        self.model = Model(np.ones(SIZE, np.float32))
        self.saved = (snapshot(self.shard), self.model.copy())
        self.rng = np.random.default_rng(0)

    # -- workers -----------------------------------------------------------------------------------

    @rule(worker=WORKERS, bad=st.sampled_from([False, False, False, False, True]))
    def start_a_push(self, worker: int, bad: bool) -> None:
        if self.current[worker] is not None:
            return
        self.sequences[worker] += 1
        vector = self.rng.integers(-8, 9, SIZE).astype(np.float32)
        self.current[worker] = Sent(
            worker, self.incarnations[worker], self.sequences[worker], self.bases[worker], vector, not bad
        )
        self.history.append(self.current[worker])  # type: ignore[arg-type]

    @rule(worker=WORKERS)
    def send_the_next_chunk(self, worker: int) -> None:
        sent = self.current[worker]
        if sent is None:
            return
        answer = self.deliver(sent, sent.done)
        if isinstance(answer, Fault):
            assert answer.code in ("hello", "order")
            if answer.code == "hello":
                self.say_hello(worker)
            sent.done = 0
            return
        sent.done += 1
        self.bases[worker] = answer.version
        if sent.done == self.chunks:
            self.current[worker] = None

    @rule(worker=WORKERS)
    def start_over_for_want_of_an_answer(self, worker: int) -> None:
        if sent := self.current[worker]:
            sent.done = 0

    @precondition(lambda self: getattr(self, "history", None))
    @rule(which=st.integers(0, 10**6), chunk=st.integers(0, 2))
    def an_old_message_turns_up_again(self, which: int, chunk: int) -> None:
        """NB: a worker's channel never has a later chunk under way before the earlier ones were sent."""
        sent = self.history[which % len(self.history)]
        if sent is self.current[sent.worker] and chunk > sent.done:
            return
        self.deliver(sent, chunk)

    def deliver(self, sent: Sent, chunk: int) -> Reply | Fault:
        answer = push(
            self.shard, sent.worker, sent.sequence, sent.vector, chunk,
            incarnation=sent.incarnation, base=sent.base, finite=sent.finite, pull=True,
        )  # fmt: skip
        if isinstance(answer, Reply) and answer.verdict == "applied":
            key = (sent.worker, sent.incarnation, sent.sequence, chunk)
            assert key not in self.model.applied
            assert sent.finite
            self.model.applied.add(key)
            span = chunk_slice(SIZE, chunk)
            self.model.weights[span] += sent.vector[span] * np.float32(-RATE)
        return answer

    @rule(worker=WORKERS)
    def say_hello(self, worker: int) -> None:
        hello(
            self.shard, worker, self.incarnations[worker], SIZE, seen=self.bases[worker],
            sequence=self.sequences[worker] - (self.current[worker] is not None),
        )  # fmt: skip

    @rule(worker=WORKERS)
    def die_and_come_back(self, worker: int) -> None:
        self.incarnations[worker] += 1
        self.current[worker], self.sequences[worker] = None, 0
        self.say_hello(worker)
        self.bases[worker] = self.shard.state.version

    @rule(worker=WORKERS)
    def be_given_up(self, worker: int) -> None:
        self.shard.leave(worker, self.incarnations[worker])

    # -- the server --------------------------------------------------------------------------------

    @rule()
    def save(self) -> None:
        self.saved = (snapshot(self.shard), self.model.copy())

    @rule()
    def crash_after_saving(self) -> None:
        self.save()
        self.crash()

    @rule()
    def crash(self) -> None:
        """Anything may have happened since the checkpoint: it is rolled back as a whole."""
        self.term += 1
        self.shard = reborn(self.shard, self.term, self.saved[0])
        self.model = self.saved[1].copy()

    @invariant()
    def the_weights_are_the_accepted_chunks(self) -> None:
        if not hasattr(self, "shard"):
            return
        state = self.shard.state
        if self.exact:
            assert np.array_equal(state.weights, self.model.weights)
        begun = {key[:3] for key in self.model.applied}
        assert state.version == len(begun) == self.shard.histogram.total()
        assert state.samples == 8 * len(begun)

    def teardown(self) -> None:
        """Let everybody finish: no push that is still known to its worker stays half in."""
        if not hasattr(self, "shard"):
            return
        for worker in range(3):
            for _ in range(4 * self.chunks):
                self.send_the_next_chunk(worker)
            assert self.current[worker] is None
        self.the_weights_are_the_accepted_chunks()
        whole = {
            (w, i, s)
            for w, i, s, _ in self.model.applied
            if (i, s) == (self.incarnations[w], self.sequences[w])
        }
        for key in whole:
            assert {(*key, chunk) for chunk in range(self.chunks)} <= self.model.applied


TestOneShard = OneShard.TestCase
TestOneShard.settings = settings(max_examples=examples(120), stateful_step_count=40, deadline=None)
