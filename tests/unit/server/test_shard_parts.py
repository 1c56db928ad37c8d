"""Exchanges about one part of a shard: only its elements move, and chunks are counted from its start."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.server.shard import Shard
from asgd.wire.messages import Pull
from tests.unit.server.peers import push, ready_shard, verdict


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


def in_parts(size: int, parts: int) -> Shard:
    shard = ready_shard(size)
    shard.strategy.parts = parts
    return shard


def test_a_push_about_one_part_moves_only_that_part_and_is_applied_once() -> None:
    shard = in_parts(7, 3)
    for _ in range(2):
        assert verdict(push(shard, 0, 1, np.full(2, 2.0, np.float32), part=1, parts=3)) in (
            "applied",
            "duplicate",
        )
    assert shard.state.weights.tolist() == [1, 1, 0, 0, 1, 1, 1]
    assert shard.state.version == 1


def test_a_part_or_chunk_that_is_not_there_is_refused() -> None:
    shard = in_parts(7, 3)
    assert verdict(push(shard, 0, 1, np.ones(3, np.float32), part=3, parts=3)) == "fault:protocol"
    assert verdict(push(shard, 0, 1, np.ones(3, np.float32), 1, part=0, parts=3)) == "fault:protocol"


def test_the_chunks_of_a_part_are_counted_from_its_end() -> None:
    shard = in_parts(20, 2)
    for chunk in range(3):
        assert verdict(push(shard, 0, 1, np.full(10, 2.0, np.float32), chunk, part=1, parts=2)) == "applied"
    assert shard.state.weights.tolist() == [1] * 10 + [0] * 10
    assert shard.state.clocks == {0: 1}, "complete after its own chunks"
    assert shard.weights(Pull("worker", 0, 1, 2, 1, part=1, parts=2), 0).size == 2


def test_a_push_about_another_part_than_the_strategy_s_is_refused() -> None:
    assert verdict(push(ready_shard(8), 0, 1, np.ones(4, np.float32), part=0, parts=2)) == "fault:protocol"
    assert verdict(push(in_parts(8, 2), 0, 1, np.ones(8, np.float32))) == "fault:protocol"
