"""Pulls as differences: both ends stay equal whatever is lost or repeated, and what is sent gets nearer and nearer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire.delta import Mirror, Shadows
from asgd.wire.messages import Reply
from tests.checks.harness import as_frame
from tests.effort import examples

LOSSY = ("int8", "topk", "onebit")
SIZE = 70


class Pair:
    """A shard's shadows and one worker's mirror; letters between them are the test's."""

    def __init__(self, name: str, size: int = SIZE, term: int = 1) -> None:
        self.how = Codec(pull=name, block_size=16, pull_top_ratio=0.2)
        self.shadows, self.mirror = Shadows(self.how, size, term), Mirror(self.how, size)
        self.got = np.full(size, np.nan, np.float32)

    def answer(self, weights: F32, held: int | None = None) -> tuple[Reply, Any]:
        reply = Reply(1, 1, 0, 1, "pulled", codec="fp32")
        held = self.mirror.state(0) if held is None else held
        return reply, as_frame(self.shadows.answer(reply, 3, held, weights))

    def take(self, letter: tuple[Reply, Any]) -> bool:
        return self.mirror.take(*letter, self.got)

    def shadow(self) -> F32:
        return self.shadows._workers[3].vector


def walk(seed: int, steps: int, size: int = SIZE) -> list[F32]:
    rng = np.random.default_rng(seed)
    moves = rng.standard_normal((steps, size)) * 0.1
    return list((rng.standard_normal(size) + np.cumsum(moves, axis=0)).astype(np.float32))


@pytest.mark.parametrize("name", LOSSY)
def test_the_first_pull_is_whole_and_those_after_it_are_small(name: str) -> None:
    pair = Pair(name, 4096)
    first, *rest = walk(0, 5, 4096)
    reply, payload = pair.answer(first)
    assert (reply.base, reply.codec, len(payload)) == (0, "fp32", 4 * 4096)
    assert pair.take((reply, payload)) and np.array_equal(pair.got, first)
    for weights in rest:
        before = reply.state
        reply, payload = pair.answer(weights)
        assert (reply.base, reply.codec) == (before, name) and len(payload) < 4096 * 1.3
        assert pair.take((reply, payload))


@pytest.mark.parametrize("name", LOSSY)
def test_what_a_difference_could_not_say_goes_with_the_next_ones(name: str) -> None:
    pair = Pair(name)
    pair.take(pair.answer(np.zeros(SIZE, np.float32)))
    target = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    errors = []
    for _ in range(60):
        assert pair.take(pair.answer(target))
        errors.append(float(np.abs(pair.got - target).max()))
    assert errors[-1] < 0.02 < errors[0] or errors[-1] < errors[0] / 3


@settings(deadline=None, max_examples=examples(150))
@given(st.sampled_from(LOSSY), st.integers(0, 2**32), st.lists(st.integers(0, 5), max_size=40))
def test_a_worker_holds_what_the_server_believes_whenever_their_states_agree(
    name: str, seed: int, events: list[int]
) -> None:
    """Answers are lost, come late, come twice; requests come twice; the worker joins anew, the server restarts."""
    pair, path = Pair(name), walk(seed, len(events) + 1)
    late: list[tuple[Reply, Any]] = []
    for event, weights in zip(events, path, strict=False):
        letter = pair.answer(weights)
        late.append(letter)
        if event == 1:
            continue
        if event == 2:
            late.append(pair.answer(weights))
        elif event == 3:
            pair.take(late[seed % len(late)])
        elif event == 4:
            pair.shadows.forget(3)
        elif event == 5:
            pair.shadows = Shadows(pair.how, SIZE, 2 + len(late))
        pair.take(letter)
        states = pair.shadows._workers[3].states if 3 in pair.shadows._workers else [0]
        if states == [pair.mirror.state(0)]:
            assert pair.mirror._held.vector.tobytes() == pair.shadow().tobytes()
    pair.take(pair.answer(path[-1], held=0))
    assert np.array_equal(pair.got, path[-1])


def test_a_request_that_names_another_state_than_the_shadows_is_answered_in_whole() -> None:
    pair, path = Pair("int8"), walk(0, 4)
    pair.take(pair.answer(path[0]))
    held = pair.mirror.state(0)
    lost = pair.answer(path[1])
    assert lost[0].base == held
    again = pair.answer(path[2], held)
    assert again[0].base == 0 and pair.take(again)
    assert not pair.take(lost), "the lost answer turns up: it builds on what is no longer held"
    assert np.array_equal(pair.got, path[2])
    assert pair.answer(path[3])[0].base == again[0].state


def test_states_of_a_restarted_server_never_repeat() -> None:
    old, new = Pair("int8", term=1), Pair("int8", term=2)
    given = {old.answer(w)[0].state for w in walk(0, 50)} & {new.answer(w)[0].state for w in walk(0, 50)}
    assert not given


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_weights_that_are_not_finite_go_in_whole_and_leave_nothing_behind(name: str, bad: float) -> None:
    pair, path = Pair(name), walk(0, 3)
    pair.take(pair.answer(path[0]))
    spoiled = path[1].copy()
    spoiled[5] = bad
    assert pair.take(pair.answer(spoiled)) and np.array_equal(pair.got, spoiled, equal_nan=True)
    assert pair.take(pair.answer(path[2])) and np.array_equal(pair.got, path[2])
    assert pair.take(pair.answer(path[2])) and pair.mirror._held.vector.tobytes() == pair.shadow().tobytes()


@pytest.mark.parametrize("name", LOSSY)
def test_a_payload_that_is_no_difference_is_refused_and_nothing_moves(name: str) -> None:
    pair, path = Pair(name), walk(0, 2)
    pair.take(pair.answer(path[0]))
    before, held = pair.got.copy(), pair.mirror.state(0)
    reply, payload = pair.answer(path[1])
    for spoiled in (payload[:-1], memoryview(b"\xff" * len(payload))):
        with pytest.raises(ProtocolError):
            pair.take((reply, spoiled))
    assert np.array_equal(pair.got, before) and pair.mirror.state(0) == held
    assert pair.take((reply, payload))


def test_a_shadow_costs_4_bytes_a_parameter_for_each_worker_until_it_leaves() -> None:
    shadows = Shadows(Codec(pull="int8"), SIZE, 1)
    weights = np.zeros(SIZE, np.float32)
    for worker in (0, 1, 1, 2):
        shadows.answer(Reply(1, 1, 0, 1, "pulled"), worker, 0, weights)
    assert shadows.nbytes == 3 * 4 * SIZE
    shadows.forget(1)
    assert shadows.nbytes == 2 * 4 * SIZE
