"""Whatever a member sends as a push, it is applied, refused or a fault of its own: never an error of the server's."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from asgd.errors import ProtocolError
from asgd.server.shard import Shard
from asgd.wire.messages import Exchange, Reply
from tests.unit.server.peers import ready_shard


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


def vector(size: int, value: float = 1.0) -> bytes:
    return np.full(size, value, np.float32).tobytes()


PAYLOADS = [
    vector(4),
    vector(4),
    vector(4),
    vector(2),
    vector(8),
    vector(14),
    vector(4, np.nan),
    None,
    b"",
    b"123",
]


def exchange(rng: random.Random, shard: Shard) -> Exchange:
    """Mostly the next chunk of a push as it should be, with a field or two that are not."""
    seen = shard.seen[0]
    sequence = seen.sequence + (rng.random() < 0.4)
    chunk = (
        seen.chunks if sequence == seen.sequence and rng.random() < 0.8 else rng.choice([0, 0, 1, 3, 1 << 40])
    )
    return Exchange(
        0, 1, sequence, chunk, 0 if rng.random() < 0.95 else 10**9, 8, int(rng.random() < 0.9), rng.random() < 0.5,
        rng.random() < 0.9, rng.choice(["fp32"] * 9 + ["bf16", "int8", "topk", "zip"]), "fp32",
        bare=rng.random() < 0.05, part=int(rng.random() < 0.05), parts=1 + (rng.random() < 0.05),
        run=rng.choice([1, 1, 1, 2, 3, 4, 5, 1 << 50]), shared=rng.random() < 0.5,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_no_push_whatever_is_an_error_of_the_servers(seed: int) -> None:
    rng, shard, met = random.Random(seed), ready_shard(14), Counter[str]()
    for _ in range(4000):
        payload: Any = rng.choice(PAYLOADS)
        try:
            answer = shard.exchange(exchange(rng, shard), payload)
        except ProtocolError:
            met["protocol"] += 1
        else:
            met[answer.verdict if isinstance(answer, Reply) else answer.code] += 1
    assert np.isfinite(shard.state.weights).all()
    assert shard.state.version > 20
    assert {"applied", "duplicate", "refused:nonfinite", "protocol", "order"} <= set(met)
