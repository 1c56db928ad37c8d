"""What rerun workers and shards leave for each other: pushes and initial weights one way, answers the other.

A shard goes through its log; where a record needs something from a worker that has not come so far, it waits for it
here. Answers are kept only where some worker's log says that it took them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from asgd.kernel import F32
from asgd.record.reading import Person
from asgd.wire.messages import Exchange


@dataclass(frozen=True, slots=True)
class Push:
    """A push to one shard: a message and its payload by chunk, as far as they were sent."""

    sequence: int
    chunks: dict[int, tuple[Exchange, Any]]


@dataclass(slots=True)
class Answer:
    """What a worker takes from a shard's answer."""

    version: int
    samples: int
    workers: int
    notes: dict[str, float]
    verdict: str
    """Of the worker's newest push."""
    told: bool = False
    codec: str = ""
    base: int = 0
    state: int = 0
    body: Any = None
    """What came along, when it carried weights."""


class Mail:
    """All that is on its way. `wanted` is filled before anything runs: (shard, term) -> stamp -> who took it."""

    def __init__(self) -> None:
        self.pushes: dict[tuple[Person, int], Push] = {}
        self.weights: dict[tuple[Person, int], F32] = {}
        self.wanted: dict[tuple[int, int], dict[int, list[Person]]] = defaultdict(dict)
        self.answers: dict[tuple[Person, int, int, int], Answer] = {}
        """{(worker, shard, term, stamp): answer}"""

    def want(self, person: Person, shard: int, term: int, stamp: int) -> None:
        """`person` took the answer that shard number `shard` of `term` gave at `stamp`."""
        self.wanted[shard, term].setdefault(stamp, []).append(person)
