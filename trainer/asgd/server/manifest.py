"""What makes a save of all shards one: the manifest, written last. A save without it does not exist."""

from __future__ import annotations

from msgspec import Struct

from asgd.wire.reports import Part


class Manifest(Struct, rename="camel"):
    """A complete save."""

    job: str
    save: int
    """Its number; saves of a job are counted from 1."""
    term: int
    """Of the shard 0 that wrote it."""
    size: int
    """Parameters of the whole model."""
    layout: str
    tensors: list[tuple[str, list[int]]]
    """[name, shape] in flat order."""
    algorithm: str
    updates: int
    samples: int
    parts: list[Part]
    time: float
    """Seconds since 1970 when it was written; set by who writes it."""
    run: str = ""
    """Which start of the job wrote it: a restore that was asked for happens once a run."""
    rollbacks: int = 0
    """How often that start of the job had gone back to a checkpoint by then."""
    crc32: str = ""
    """Of the file, with "00000000" in this place; set by who writes it."""
