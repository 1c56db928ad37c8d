"""What a worker says of itself in every message, and of each push beside its payload; what an exchange brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asgd.wire.messages import Role
from asgd.worker.reading.leased import Lease

BEAT_SECONDS = 0.5
"""Pause between a worker's signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
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
    own_loop: bool = False
    digest: bytes = b""
    rule: bytes = b""
    edges: tuple[int, ...] = ()
    """Where the job's models begin in the flat vector, and the last one ends; () for one model."""
    cuts: tuple[int, ...] = ()
    """Where the shards begin in it, and the last one ends; () for equal ones."""


@dataclass(slots=True, kw_only=True)
class PushHeader:
    """What a push says beside its payload; as it stands it is that of a pull."""

    sequence: int = 0
    samples: int = 0
    steps: int = 0
    finite: bool = True
    loss: float | None = None
    scalars: dict[str, float] = field(default_factory=dict)
    """What the loss function returns beside the loss."""
    visits: Sequence[Lease] = ()
    meta: dict[str, float] = field(default_factory=dict)
    bare: bool = False
    """Nothing goes with it: one message a shard."""
    bases: Sequence[int] = ()
    """Versions of all shards that the push was computed from, of one model of several its updates there; those of the
    last pull if not given."""
    part: int = 0
    parts: int = 1
    """The exchange is about part number `part` of `parts` of each shard: equal ones, or the job's models."""
    of: int = -1
    """The worker whose contribution to the open round is pulled (Zeno's oracle); -1: the weights."""
    rollbacks: int = 0
    """How often the job had gone back when the weights were pulled that it was computed from."""
    settings: list[dict[str, float]] = field(default_factory=list)
    """Figures of the script's own optimizer that have moved, of each group."""
    by_chunk: bool = False
    """`finite` is not known of all of it yet: each chunk is looked at when it leaves."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exchange went."""

    stop: str
    """Why the job stops; empty while it runs."""
    verdicts: tuple[str, ...]
    """Of each shard."""
    samples: int
    """Samples of the whole job so far."""
    workers: int
    notes: dict[str, float]
    """What the strategy's server half says beside the weights (shard 0's word)."""
    empty: bool = False
    """Some shard had nothing new: what was pulled is not whole."""
    versions: tuple[int, ...] = ()
    """What the newest pull brought of each shard."""
    models: tuple[Sequence[int], ...] = ()
    """Of each shard: the updates of each model of several in what was pulled of it; none for one model."""
    rollbacks: tuple[int, ...] = ()
    """How often the job has gone back, as far as each shard is."""


@dataclass(slots=True)
class Pending:
    """What has been computed since the last push."""

    samples: int = 0
    steps: int = 0
    visits: list[Lease] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float | None:
        """The mean of those that were told."""
        return sum(self.losses) / len(self.losses) if self.losses else None
