"""How the flat vector is cut: into equal contiguous shards, and each shard into equal chunks.

Workers and servers compute the same cuts from N and the shard count (and from the model's tensors, where shards may cut
none of them); nothing is negotiated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

import msgspec
from msgspec import Meta

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.models import within

CHUNK = 1 << 19
"""Elements of a chunk: 2 MiB of float32 (decision 011)."""


@dataclass(frozen=True, slots=True)
class Range:
    """Elements [start, stop) of the flat vector."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def shard_range(size: int, shard: int, shards: int, cuts: Sequence[int] = ()) -> Range:
    """The slice of a vector of `size` elements that shard number `shard` of `shards` holds.

    `cuts`: where the shards begin, and the last one ends, if they are not equal (`algorithms/gathering.py`).
    """
    if cuts:
        return Range(cuts[shard], cuts[shard + 1])
    return Range(size * shard // shards, size * (shard + 1) // shards)


def part_range(size: int, part: int, parts: int) -> Range:
    """Part number `part` of `parts` equal parts of a shard of `size` elements: what an exchange may be about."""
    return shard_range(size, part, parts)


def part_slices(size: int, shards: int, part: int, parts: int) -> list[slice]:
    """The elements of the flat vector in part number `part` of every shard, one slice a shard."""
    found = []
    for shard in range(shards):
        whole = shard_range(size, shard, shards)
        own = part_range(whole.size, part, parts)
        found.append(slice(whole.start + own.start, whole.start + own.stop))
    return found


def chunk_count(size: int, chunk: int = CHUNK) -> int:
    """Chunks of a shard with `size` elements; at least one, so that an empty shard still counts versions."""
    return max(1, -(-size // chunk))


def chunk_slice(size: int, index: int, chunk: int = CHUNK, run: int = 1) -> slice:
    """Elements of the `run` chunks from number `index` on within a shard of `size` elements; none beyond the last one.

    NB: chunks are counted from the shard's end, and travel in order of their numbers: a backward pass finishes the
    last layers first (decision 008). All are of `chunk` elements but the last, where the shard begins.
    """
    stop, most = size - index * chunk, run * chunk
    return slice(stop - most if stop > most else 0, stop if stop > 0 else 0)


def named_tensors(tensors: bytes) -> list[tuple[str, list[int]]]:
    """[(name, shape), ...] in flat order of JSON as in `Hello`. Raises ProtocolError on anything else."""
    try:
        return msgspec.json.decode(tensors, type=list[tuple[str, list[Annotated[int, Meta(ge=0)]]]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the model's tensors are not [[name, shape], ...]: {error}") from error


def named_sizes(tensors: bytes) -> list[tuple[str, int]]:
    """[(name, elements), ...] of the same. Raises ProtocolError on anything else."""
    return [(name, math.prod(shape)) for name, shape in named_tensors(tensors)]


def by_name(vector: F32, tensors: Iterable[tuple[str, Sequence[int]]]) -> dict[str, F32]:
    """The (N,) flat `vector` as {name: array of its shape}, views of it; `tensors` are (name, shape) in flat order."""
    named, offset = {}, 0
    for name, shape in tensors:
        count = math.prod(shape)
        named[name] = vector[offset : offset + count].reshape(shape)
        offset += count
    return named


def block_edges(tensors: bytes, size: int) -> list[int]:
    """Where the model's blocks begin and the last one ends; a block is what names share up to their last dot.

    `tensors` is JSON as in `Hello`; where it does not describe `size` elements, all of them are one block. Raises
    ProtocolError on anything else.
    """
    edges = [0]
    for _, members in groupby(named_tensors(tensors), key=lambda tensor: tensor[0].rpartition(".")[0]):
        edges.append(edges[-1] + sum(math.prod(shape) for _, shape in members))
    return edges if edges[-1] == size else [0, size]


class Cuts:
    """How a shard that holds elements `whole` is cut where an exchange is about a part of it: evenly, or by models.

    `edges`: where the job's models begin in the flat vector, and the last one ends; () for one model. Of some models a
    shard may hold nothing: such a part is one chunk without elements, so that all shards count alike.
    """

    def __init__(self, whole: Range, edges: Sequence[int] = ()) -> None:
        self.whole, self.edges = whole, edges
        self._size = whole.size  # asked for at each chunk

    def part(self, part: int, parts: int) -> Range:
        """Part number `part` of `parts`, counted from the shard's first element."""
        if parts == 1:
            return Range(0, self._size)
        if not self.edges:
            return part_range(self._size, part, parts)
        return Range(*within(self.edges, part, self.whole.start, self.whole.stop))

    def count(self, part: int, parts: int) -> int:
        """Chunks of it."""
        return chunk_count(self._size if parts == 1 else self.part(part, parts).size)

    def chunk(self, index: int, part: int, parts: int, run: int = 1) -> slice:
        """Elements of `run` chunks of it; those of a part that is exchanged alone are counted from its end."""
        if parts == 1:
            return chunk_slice(self._size, index, run=run)
        own = self.part(part, parts)
        span = chunk_slice(own.size, index)
        return slice(own.start + span.start, own.start + span.stop)
