"""Hand-written peers of one shard: messages as workers send them, one at a time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from asgd.algorithms.asgd import AsgdServer
from asgd.kernel import F32
from asgd.server.shard import Shard
from asgd.spec.types import JobSpec
from asgd.wire.messages import Exchange, Fault, Hello, Init, Pull, Reply, Welcome
from asgd.wire.partition import chunk_count, chunk_slice, shard_range
from tests.checks.harness import as_frame, asgd_spec

LAYOUT = "layout"


def make_shard(spec: JobSpec | None = None, index: int = 0, shards: int = 1, term: int = 1) -> Shard:
    spec = spec or asgd_spec(0.5)
    return Shard(spec, AsgdServer(spec), index, shards, term)


def ready_shard(size: int, spec: JobSpec | None = None, **where: int) -> Shard:
    """Worker 0 (incarnation 1) has joined and brought ones."""
    shard = make_shard(spec, **where)
    hello(shard, 0, 1, size)
    bring(shard, 0, 1, np.ones(size, np.float32))
    assert shard.ready
    return shard


def hello(shard: Shard, worker: int, incarnation: int, size: int, **fields: Any) -> Welcome | Fault:
    fields = {"role": "worker", "layout": LAYOUT} | fields
    return shard.hello(Hello("job", index=worker, incarnation=incarnation, size=size, **fields))


def bring(shard: Shard, worker: int, incarnation: int, whole: F32) -> None:
    part = shard_range(whole.size, shard.index, shard.shards)
    mine = whole[part.start : part.stop]
    for chunk in range(chunk_count(mine.size)):
        assert (
            shard.init(Init(worker, incarnation, chunk), as_frame(mine[chunk_slice(mine.size, chunk)]))
            is None
        )


def push(
    shard: Shard,
    worker: int,
    sequence: int,
    vector: F32,
    chunk: int = 0,
    *,
    incarnation: int = 1,
    base: int = 0,
    **fields: Any,
) -> Reply | Fault:
    """Chunk number `chunk` of pushing `vector` (the shard's slice)."""
    given = {"samples": 8, "steps": 1, "pull": False, "finite": True} | fields
    message = Exchange(worker, incarnation, sequence, chunk, base, **given)
    return shard.exchange(message, as_frame(vector[chunk_slice(vector.size, chunk)]))


def pull(
    shard: Shard, worker: int, chunk: int = 0, *, incarnation: int = 1, role: str = "worker"
) -> Reply | Fault:
    return shard.pull(Pull(role, worker, incarnation, chunk, 1))


def verdict(answer: Reply | Fault) -> str:
    return answer.verdict if isinstance(answer, Reply) else f"fault:{answer.code}"


def reborn(shard: Shard, term: int, saved: tuple[dict[str, F32], str] | None = None) -> Shard:
    """The shard's next start, from `saved` or from what it holds now, through JSON as in a checkpoint."""
    arrays, meta = saved or snapshot(shard)
    fresh = Shard(shard.spec, AsgdServer(shard.spec), shard.index, shard.shards, term)
    fresh.restore(shard.size or 0, shard.layout, arrays, json.loads(meta))
    return fresh


def snapshot(shard: Shard) -> tuple[dict[str, F32], str]:
    return {name: array.copy() for name, array in shard.arrays().items()}, json.dumps(shard.meta())
