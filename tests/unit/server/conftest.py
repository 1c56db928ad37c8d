"""What tests of a server share: chunks of four elements, so that small models are pushed in several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asgd.server import shard
from asgd.wire import codec, delta, partition
from asgd.worker.sending import channel

CHUNK = 4


@pytest.fixture(scope="module")
def small_chunks() -> Iterator[int]:
    """Both ends cut after `CHUNK` elements while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (partition, shard, channel, codec, delta):
            patch.setattr(module, "CHUNK", CHUNK)
        patch.setattr(partition.chunk_count, "__defaults__", (CHUNK,))
        patch.setattr(partition.chunk_slice, "__defaults__", (CHUNK, 1))
        yield CHUNK
