"""Chunks become whole when the last of their tensors does, whatever the order in which backward finishes tensors."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.wire.partition import CHUNK, Range
from asgd.worker.sending.countdown import Countdown, chunks_of


def ranges(sizes: list[int]) -> list[Range]:
    found, start = [], 0
    for size in sizes:
        found.append(Range(start, start + size))
        start += size
    return found


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8), st.randoms())
def test_a_chunk_is_whole_exactly_when_no_tensor_in_it_is_missing(
    tensors: list[int], chunks: list[int], random: st.DataObject
) -> None:
    total = sum(tensors)
    spans, cuts = ranges(tensors), [c for c in ranges(chunks) if c.stop <= total]
    countdown = Countdown(spans, cuts)
    for _ in range(2):
        countdown.restart()
        missing, whole = set(range(total)), set()
        order = list(range(len(spans)))
        random.shuffle(order)  # type: ignore[attr-defined]
        for tensor in order:
            told = countdown.done(tensor)
            assert told is not None
            missing -= set(range(spans[tensor].start, spans[tensor].stop))
            assert whole.isdisjoint(told)
            whole |= set(told)
            there = {n for n, c in enumerate(cuts) if c.size and missing.isdisjoint(range(c.start, c.stop))}
            assert whole == there
            assert set(countdown.rest()) == {n for n, c in enumerate(cuts) if c.size} - there


def test_a_tensor_that_is_done_twice_says_so() -> None:
    countdown = Countdown(ranges([3, 3]), ranges([2, 2, 2]))
    assert countdown.done(1) == [2]
    assert countdown.done(1) is None
    assert countdown.done(0) == [0, 1]


def test_the_first_chunk_of_each_shard_is_its_end_where_backward_begins() -> None:
    size = 5 * CHUNK + 10
    first, second = chunks_of(size, 2)
    assert (first[0].stop, first[-1].start) == (size // 2, 0)
    assert (second[0].stop, second[-1].start) == (size, size // 2)
    assert sum(chunk.size for chunk in first + second) == size
    assert all(chunk.size == CHUNK for chunk in first[:-1] + second[:-1])
