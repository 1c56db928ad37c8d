"""Chunks that lie in shared memory are announced several at once; each is applied once all the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.registry import strategy
from asgd.errors import VersionMismatch
from asgd.kernel import LOOK
from asgd.server.shard import Shard
from asgd.wire.lanes import WINDOW
from asgd.wire.messages import Exchange
from asgd.wire.partition import CHUNK, chunk_slice
from asgd.worker.sending.headers import PushHeader
from tests.checks.harness import asgd_spec
from tests.unit.server.peers import bring, hello, push
from tests.unit.server.rig import RATE, Rig

SIZE = 5 * CHUNK + 5
CHUNKS = 6
OPTIMIZERS = {"sgd": {}, "adam": {"name": "adam"}}


def vectors() -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(SIZE).astype(np.float32) for _ in range(3)]


def trained(folder: Path, way: str, optimizer: str) -> tuple[Any, int]:
    """Weights after three pushes over a lane, and how many messages brought these."""
    folder.mkdir()
    more = {"optimizer": {"learningRate": RATE, **OPTIMIZERS[optimizer]}}
    with Rig(folder, way, SIZE, more) as rig:
        worker = rig.joined()
        pulled = rig.memory(worker)
        for sequence, vector in enumerate(vectors(), 1):
            rig.exchange(worker, sequence, vector, pulled)
            rig.until(lambda: not worker.busy)
        assert worker.version == 3
        return pulled.copy(), sum(rig.service.core.traffic.counts["push"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fewer_messages_bring_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    alone, many = trained(tmp_path / "a", "unix", optimizer)
    together, few = trained(tmp_path / "b", "shm", optimizer)
    assert np.array_equal(alone.view(np.uint32), together.view(np.uint32))
    assert (many, few) == (3 * CHUNKS, 3)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_chunks_of_which_some_were_seen_before_are_applied_once(tmp_path: Path, first: int) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        pulled, vector = rig.memory(worker), vectors()[0]
        begun = Exchange(0, 1, 1, 0, 0, 8, 1, False, True, run=first)
        worker.lane.send(begun, vector[chunk_slice(SIZE, 0, run=first)])
        rig.until(lambda: 0 in rig.service.core.shard.seen and rig.service.core.shard.seen[0].chunks == first)
        rig.exchange(worker, 1, vector, pulled)
        rig.until(lambda: not worker.busy)
        assert worker.verdict in ("duplicate", "applied")
        assert rig.service.core.shard.state.version == 1
        assert np.array_equal(pulled, np.ones(SIZE, np.float32) + vector * np.float32(-RATE))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("way", ["unix", "shm"])
def test_of_a_push_that_is_not_finite_later_on_only_what_came_before_is_in(
    tmp_path: Path, way: str, optimizer: str
) -> None:
    """Also over a lane that brings all chunks at once; plain SGD stops within the chunk, other optimizers before it."""
    more = {"optimizer": {"learningRate": RATE, **OPTIMIZERS[optimizer]}}
    with Rig(tmp_path, way, SIZE, more) as rig:
        worker = rig.joined()
        pulled, vector = rig.memory(worker), vectors()[0]
        spoiled = chunk_slice(SIZE, 3)
        vector[spoiled.start + 3 * LOOK + 5] = np.nan
        rig.exchange(worker, 1, vector, pulled)
        rig.until(lambda: not worker.busy)
        assert worker.verdict == "refused:nonfinite"
        before = chunk_slice(SIZE, 0, run=3)
        assert np.array_equal(pulled[: spoiled.start], np.ones(spoiled.start, np.float32))
        if optimizer == "sgd":
            applied = np.ones(SIZE, np.float32)
            for part in (before, slice(spoiled.start, spoiled.start + 3 * LOOK)):
                applied[part] += vector[part] * np.float32(-RATE)
            assert np.array_equal(pulled, applied)
        else:
            assert (pulled[before] != 1).all()
            assert np.array_equal(pulled[spoiled], np.ones(CHUNK, np.float32))


def test_what_does_not_lie_in_shared_memory_comes_chunk_by_chunk(tmp_path: Path) -> None:
    with Rig(tmp_path, "unix", SIZE) as rig:
        worker = rig.joined()
        worker.lane.send(Exchange(0, 1, 1, 0, 0, 8, 1, False, True, run=2), vectors()[0][: 2 * CHUNK])
        with pytest.raises(VersionMismatch, match="chunk"):
            rig.until(lambda: False)
        assert rig.service.core.shard.state.version == 0


@pytest.mark.parametrize("by_chunk", [False, True])
def test_a_push_that_is_not_finite_from_its_first_chunk_on_is_refused_and_the_next_one_counts(
    tmp_path: Path, by_chunk: bool
) -> None:
    with Rig(tmp_path, "shm", SIZE) as rig:
        worker = rig.joined()
        pulled, vector = rig.memory(worker), vectors()[0]
        spoiled = vector.copy()
        spoiled[chunk_slice(SIZE, 0).start] = np.inf
        meta = PushHeader(
            sequence=1, samples=8, steps=1, finite=by_chunk, loss=0.5, visits=[], by_chunk=by_chunk
        )
        worker.start(spoiled, meta, pulled, time.monotonic())
        rig.until(lambda: not worker.busy)
        assert worker.verdict == "refused:nonfinite"
        assert rig.service.core.shard.state.version == 0
        rig.exchange(worker, 2, vector, pulled)
        rig.until(lambda: not worker.busy)
        assert np.array_equal(pulled, np.ones(SIZE, np.float32) + vector * np.float32(-RATE))


def test_the_one_chunk_of_an_empty_shard_is_a_contribution_to_a_round() -> None:
    spec = asgd_spec(RATE, workers=2, algorithm={"name": "sync"})
    shard = Shard(spec, strategy("sync").server(spec), 0, 2, 1)
    hello(shard, 0, 1, 1)
    bring(shard, 0, 1, np.ones(1, np.float32))
    push(shard, 0, 1, np.zeros(0, np.float32))
    assert 0 in shard.state.inbox and shard.state.inbox[0].complete


def test_of_packed_chunks_which_travel_on_every_lane_few_are_under_way(tmp_path: Path) -> None:
    with Rig(tmp_path, "shm", SIZE, {"codec": {"push": "bf16", "pull": "bf16"}}) as rig:
        worker = rig.joined()
        rig.exchange(worker, 1, vectors()[0], rig.memory(worker))
        for _ in range(10):
            # NB: the worker sends what the socket takes, and hears no answer. Each step waits up to 0.1 s for more.
            worker.lane.polls()
            rig.service.step()
        assert sum(rig.service.core.traffic.counts["push"]) == WINDOW < CHUNKS
        rig.until(lambda: not worker.busy)
        assert sum(rig.service.core.traffic.counts["push"]) == CHUNKS
