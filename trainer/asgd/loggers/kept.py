"""What a logger keeps over its restarts, beside the run: how far the history is logged, and as which run."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct


class Kept(Struct):
    """Of one logger; `save` writes it to its file."""

    id: str
    """Of the run in MLflow and Weights & Biases."""
    read: int = 0
    """Bytes of history.jsonl that are logged."""
    updates: int = -1
    """Of the newest progress that is logged."""
    evaluated: int = -1
    metrics: dict[str, float] = {}
    """The newest evaluation that is logged: of so many updates."""
    highest: int = -1
    """The most updates that were ever logged."""
    trouble: str = ""
    """Why the newest points are not logged; empty when they are."""

    @classmethod
    def load(cls, path: Path, identity: str = "") -> Self:
        """What stands in `path`; a new one as run `identity` (a random one if not given) where there is none."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return cls(identity or uuid.uuid4().hex[:12])

    def text(self) -> bytes:
        """What is written."""
        return msgspec.json.encode(self)

    def save(self, path: Path) -> None:
        """Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(self.text())
        partial.replace(path)
