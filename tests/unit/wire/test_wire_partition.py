"""The cuts of the flat vector: every element lies in exactly one chunk of exactly one shard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.wire.partition import block_edges, chunk_count, chunk_slice, shard_range


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(1, 40), st.integers(1, 50))
def test_shards_and_their_chunks_from_each_ones_end_cover_the_vector_once_and_in_order(
    size: int, shards: int, chunk: int
) -> None:
    seen = []
    for shard in range(shards):
        part = shard_range(size, shard, shards)
        count = chunk_count(part.size, chunk)
        assert count >= 1
        assert not range(part.size)[chunk_slice(part.size, count, chunk)]
        assert not range(part.size)[chunk_slice(part.size, count + 1, chunk)]
        for index in reversed(range(count)):
            span = chunk_slice(part.size, index, chunk)
            seen += list(range(part.start + span.start, part.start + span.stop))
    assert seen == list(range(size))


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(1, 1000))
def test_no_shard_is_larger_than_another_by_more_than_one_element(size: int, shards: int) -> None:
    sizes = [shard_range(size, shard, shards).size for shard in range(shards)]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == size


def test_a_block_is_what_names_share_up_to_their_last_dot() -> None:
    tensors = b'[["0.weight", [4, 3]], ["0.bias", [4]], ["2.deep.weight", [2, 4]], ["scale", []]]'
    assert block_edges(tensors, 25) == [0, 16, 24, 25]


def test_tensors_that_are_not_the_models_give_one_block_or_a_protocol_error() -> None:
    assert block_edges(b"[]", 7) == block_edges(b'[["a", [8]]]', 7) == [0, 7]
    for wrong in (b"{}", b"[[1, 2]]", b'[["a", [-1]]]', b"\xff"):
        with pytest.raises(ProtocolError):
            block_edges(wrong, 7)
