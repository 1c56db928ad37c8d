"""A push leaves as its chunks become ready: nothing sooner, nothing twice, on every lane and over lost connections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asgd.wire.partition import CHUNK, chunk_slice
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PushHeader
from tests.unit.server.rig import LANES, RATE, Rig

SIZE = 5 * CHUNK + 7
CHUNKS = 6


class Computed:
    """The gradient i + 1 at element i, with rubbish where it is not ready yet."""

    def __init__(self) -> None:
        self.whole = np.arange(1, SIZE + 1, dtype=np.float32)
        self.vector = np.full(SIZE, np.nan, np.float32)
        self.there = 0

    def until(self, chunk: int) -> None:
        """All chunks below number `chunk` are ready."""
        for number in range(chunk):
            self.vector[chunk_slice(SIZE, number)] = self.whole[chunk_slice(SIZE, number)]
        self.there = chunk

    def ready(self, chunk: int) -> bool:
        return chunk < self.there


def begin(channel: Channel, computed: Computed, into: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    meta = PushHeader(sequence=1, samples=8, steps=1, loss=0.5, by_chunk=True)
    channel.start(computed.vector, meta, into, 0.0, computed.ready)


@pytest.mark.parametrize("way", LANES)
def test_chunks_are_applied_as_they_become_ready_and_no_sooner(tmp_path: Path, way: str) -> None:
    rig, computed, into = Rig(tmp_path, way, SIZE), Computed(), np.zeros(SIZE, np.float32)
    with rig:
        channel = rig.joined()
        begin(channel, computed, into)
        for there in range(1, CHUNKS + 1):
            assert channel.awaited == there - 1
            computed.until(there)
            channel.advance(0.0)
            rig.until(lambda there=there: channel.awaited == there or not channel.busy)
            weights, late = rig.service.core.shard.state.weights, chunk_slice(SIZE, there)
            assert np.array_equal(weights[late], np.ones(late.stop - late.start))
        assert not channel.busy
        assert rig.service.core.shard.state.version == 1
        expected = np.float32(1) + computed.whole * np.float32(-RATE)
        assert np.array_equal(rig.service.core.shard.state.weights, expected)
        assert np.array_equal(into, expected)


def test_while_the_next_chunk_is_computed_nothing_is_sent_again(tmp_path: Path) -> None:
    rig, computed = Rig(tmp_path, "zmq", SIZE), Computed()
    with rig:
        channel = rig.joined()
        computed.until(2)
        begin(channel, computed, np.zeros(SIZE, np.float32))
        rig.until(lambda: channel.awaited == 2)
        before = channel.retries
        for hours in range(1, 20):
            rig.step(later=3600.0 * hours)
        assert channel.retries == before
        computed.until(CHUNKS)
        channel.advance(0.0)
        rig.until(lambda: not channel.busy)


@pytest.mark.parametrize("way", ["tcp", "sealed", "shm"])
def test_a_connection_lost_in_the_middle_of_backward_costs_no_chunk_and_repeats_none(
    tmp_path: Path, way: str
) -> None:
    rig, computed, into = Rig(tmp_path, way, SIZE), Computed(), np.zeros(SIZE, np.float32)
    with rig:
        channel = rig.joined()
        computed.until(3)
        begin(channel, computed, into)
        rig.until(lambda: channel.awaited == 3)
        rig.connection().socket.shutdown(2)
        rig.until(lambda: not channel.joined)
        rig.until(lambda: channel.joined and channel.awaited == 3)
        computed.until(CHUNKS)
        channel.advance(0.0)
        rig.until(lambda: not channel.busy)
        assert channel.joins == 2
        assert rig.service.core.shard.state.version == 1
        expected = np.float32(1) + computed.whole * np.float32(-RATE)
        assert np.array_equal(rig.service.core.shard.state.weights, expected)
        assert np.array_equal(into, expected)


def test_a_gradient_that_is_not_finite_is_dropped_from_there_on_and_named(tmp_path: Path) -> None:
    rig, computed = Rig(tmp_path, "tcp", SIZE), Computed()
    with rig:
        channel = rig.joined()
        computed.until(CHUNKS)
        computed.vector[chunk_slice(SIZE, 2).start + 5] = np.nan
        begin(channel, computed, np.zeros(SIZE, np.float32))
        rig.until(lambda: not channel.busy)
        weights = rig.service.core.shard.state.weights
        applied = chunk_slice(SIZE, 1).start
        assert np.array_equal(weights[applied:], 1 + computed.whole[applied:] * np.float32(-RATE))
        assert np.array_equal(weights[:applied], np.ones(applied))
        assert channel.verdict == "refused:nonfinite"
        assert dict(rig.service.core.shard.refused) == {"nonfinite": 1}


def test_pushes_that_always_turn_non_finite_on_the_way_end_the_job_as_diverged(tmp_path: Path) -> None:
    rig, computed = Rig(tmp_path, "tcp", SIZE), Computed()
    with rig:
        channel = rig.joined()
        computed.until(CHUNKS)
        computed.vector[0] = np.inf
        chief = rig.service.core.primary
        assert chief
        for sequence in range(1, 12):
            channel.start(
                computed.vector,
                PushHeader(
                    sequence=sequence, samples=8, steps=1, finite=True, loss=0.5, visits=[], by_chunk=True
                ),
                None,
                0.0,
            )
            rig.until(lambda: not channel.busy)
            assert chief.coordinator.stop_reason == ("diverged" if sequence >= 10 else "")
