"""What replayed workers and servers leave for each other: messages one way, answers and the order of both the other.

A server goes through its log; where a record needs something from a worker that has not come so far, it waits for it
here. Answers are kept only where some worker's log says that it took them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from asgd.kernel import F32
from asgd.record.reading import Person, Recording
from asgd.wire.lanes import Fed
from asgd.wire.messages import Exchange, Message, Pull, Reply
from asgd.wire.partition import chunk_count

Taken = tuple[int, int, int]
"""Term, chunk and stamp of an answer."""


class TapeLane(Fed):
    """A worker's way to a shard of `size` elements: what it says stays here until the shard's log comes to it.

    All chunks go at once: what the run's worker sent before it died is not known to the chunk.
    """

    name = "tape"

    def __init__(self, size: int) -> None:
        self.window = self.announced = chunk_count(size)
        self.busy = False
        """The exchange that `sent` belongs to is under way."""
        self.sent: dict[int, tuple[Exchange | Pull, Any]] = {}
        """By chunk, what the worker has asked last, and its payload."""
        self.weights: F32 | None = None
        """The shard's part of the worker's own, which it was asked for."""
        self.answers: defaultdict[Taken, deque[tuple[Reply, Any]]] = defaultdict(deque)

    def send(self, message: Message, payload: Any = None) -> None:
        if isinstance(message, Exchange | Pull):
            if isinstance(message, Exchange):
                # NB: shards of one process must not share what a strategy may write to.
                message.meta = dict(message.meta)
            self.sent[message.chunk] = message, None if payload is None else memoryview(payload).cast("B")

    def waits(self, now: float) -> bool:
        return True


class Mail:
    """All lanes, and the answers that workers took."""

    def __init__(self, recording: Recording) -> None:
        self.lanes: dict[tuple[Person, int], TapeLane] = {}
        """By worker and shard; those of workers that have begun to live."""
        self.wanted: defaultdict[tuple[int, int], defaultdict[int, list[tuple[Person, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        """{(shard, term): {stamp: (worker, chunk) of each answer that is not given yet}}"""
        for person, shard, (term, chunk, stamp) in recording.taken():
            self.wanted[shard, term][stamp].append((person, chunk))
