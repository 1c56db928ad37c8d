"""What a worker says of itself in every message, and of each push beside its payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asgd.wire.messages import Role


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks: what stands in each of a peer's messages."""

    job: str
    role: Role
    index: int
    incarnation: int
    size: int
    layout: str
    dataset: int | None = None
    node: str = ""
    guarantee: str = ""
    tensors: bytes = b""
    evaluates: bool = False


@dataclass(slots=True)
class PushMeta:
    """What a push says beside its payload."""

    sequence: int
    samples: int
    steps: int
    finite: bool
    loss: float | None
    visits: list[tuple[int, int, int]]
    meta: dict[str, float] = field(default_factory=dict)
    bare: bool = False
    """Nothing goes with it: one message a shard."""
    bases: Sequence[int] = ()
    """Versions of all shards that the push was computed from; those of the last pull if not given."""
    part: int = 0
    parts: int = 1
    """The exchange is about part number `part` of `parts` equal parts of each shard."""
    of: int = -1
    """The worker whose contribution to the open round is pulled (Zeno's oracle); -1: the weights."""
    by_chunk: bool = False
    """`finite` is not known of all of it yet: each chunk is looked at when it leaves."""
