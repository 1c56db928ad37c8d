"""The cuts of the flat vector: every element lies in exactly one chunk of exactly one shard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asgd.wire.partition import chunk_count, chunk_slice, shard_range


@given(st.integers(0, 3000), st.integers(1, 40), st.integers(1, 50))
def test_shards_and_their_chunks_cover_the_vector_once_and_in_order(
    size: int, shards: int, chunk: int
) -> None:
    seen = []
    for shard in range(shards):
        part = shard_range(size, shard, shards)
        count = chunk_count(part.size, chunk)
        assert count >= 1
        for index in range(count):
            span = chunk_slice(part.size, index, chunk)
            seen += list(range(part.start + span.start, part.start + span.stop))
    assert seen == list(range(size))


@given(st.integers(0, 10**12), st.integers(1, 1000))
def test_no_shard_is_larger_than_another_by_more_than_one_element(size: int, shards: int) -> None:
    sizes = [shard_range(size, shard, shards).size for shard in range(shards)]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == size
