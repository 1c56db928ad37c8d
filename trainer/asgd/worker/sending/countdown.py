"""Which chunks of the flat gradient are whole while a backward pass finishes one tensor after the other; pure."""

from __future__ import annotations

from collections.abc import Sequence

from asgd.wire.partition import Range, chunk_count, chunk_slice, shard_range


def chunks_of(size: int, shards: int) -> list[list[Range]]:
    """By shard its chunks in order of their numbers, as elements of a flat vector of `size`."""
    found = []
    for part in (shard_range(size, shard, shards) for shard in range(shards)):
        spans = (chunk_slice(part.size, number) for number in range(chunk_count(part.size)))
        found.append([Range(part.start + span.start, part.start + span.stop) for span in spans])
    return found


class Countdown:
    """How many of `tensors` each of `chunks` still waits for; both are ranges of one vector, tensors in its order."""

    def __init__(self, tensors: Sequence[Range], chunks: Sequence[Range]) -> None:
        self._chunks_of: list[list[int]] = [
            [
                number
                for number, chunk in enumerate(chunks)
                if max(chunk.start, tensor.start) < min(chunk.stop, tensor.stop)
            ]
            for tensor in tensors
        ]
        self._all = [0] * len(chunks)
        for numbers in self._chunks_of:
            for number in numbers:
                self._all[number] += 1
        self._left = list(self._all)
        self._done = [False] * len(tensors)

    def restart(self) -> None:
        """A new backward pass: nothing is done."""
        self._left[:] = self._all
        self._done = [False] * len(self._done)

    def done(self, tensor: int) -> list[int] | None:
        """The chunks that are whole now that tensor number `tensor` is; None if it was before."""
        if self._done[tensor]:
            return None
        self._done[tensor] = True
        whole = []
        for number in self._chunks_of[tensor]:
            self._left[number] -= 1
            if not self._left[number]:
                whole.append(number)
        return whole

    def rest(self) -> list[int]:
        """The chunks that still wait for a tensor."""
        return [number for number, left in enumerate(self._left) if left]
