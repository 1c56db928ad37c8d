"""What shard 0 says about the training, as far as the operator reads it.

Shard 0 serves a status as JSON on its metrics port. The operator pulls it and decodes only these fields, so
that a server of another version is still understood: what is missing takes its default, what is new is
ignored.
"""

from __future__ import annotations

from msgspec import Struct, field


class Staleness(Struct, rename="camel", frozen=True):
    """In updates, over accepted pushes."""

    p50: int = 0
    p99: int = 0


class Saved(Struct, rename="camel", frozen=True):
    """The newest complete checkpoint."""

    updates: int = 0
    uri: str = ""
    seconds_ago: float = 0.0
    bytes: int = 0


class Report(Struct, rename="camel", frozen=True):
    """Totals count from the job's first start, rates are over the last seconds."""

    phase: str = "starting"
    """starting | running | stopping | finished"""
    updates: int = 0
    samples: int = 0
    epochs: float = 0.0
    samples_per_second: float = 0.0
    updates_per_second: float = 0.0
    loss: float | None = None
    metrics: dict[str, float | None] = {}
    staleness: Staleness = field(default_factory=Staleness)
    terms: list[int] = []
    restarts: dict[str, int] = {}
    lost_updates: int = 0
    rejected_workers: list[int] = []
    """Workers that the strategy does not listen to for now."""
    checkpoint: Saved | None = None
    progress: float | None = None
    stop_reason: str = ""
    """epochs | updates | samples | seconds | metric | diverged | interrupted | suspended | stopped, empty
    while running.
    """
