"""What a shard tells of each change to whoever records it; this base class records nothing.

Called by `Shard`, `RoundPart` and `Saving` at the points where the shard's state changes. `stamp` counts the records;
it goes out with each answer, so that a worker can say which state of the shard it has seen.
"""

from __future__ import annotations

from typing import Any

from asgd.wire.messages import Decided, Exchange, Hello, Init, Pull


class Recorder:
    """Records nothing."""

    records = False
    stamp = 0

    def pushed(self, message: Exchange, payload: Any) -> None:
        """A chunk of a push was taken in."""

    def told(self, worker: int, asked: Exchange | Pull) -> None:
        """A chunk of weights is copied into an answer."""

    def joined(self, message: Hello) -> None:
        """A hello has changed the shard."""

    def brought(self, message: Init, payload: Any) -> None:
        """A chunk of initial weights was taken in."""

    def left(self, worker: int) -> None:
        """A worker is gone."""

    def ended(self, worker: int) -> None:
        """Shard 0 has taken note that a worker's own loop came to its end."""

    def rested(self, worker: int) -> None:
        """A worker's clock was stopped."""

    def closed(self, order: Decided, facts: dict[str, Any]) -> None:
        """An order for a round is about to be carried out."""

    def saved(self, save: int) -> None:
        """The state of this moment went into save number `save`; below zero: a copy in memory."""

    def restored(self, save: int, rollbacks: int) -> None:
        """The state is that of save number `save`; the job has gone back `rollbacks` times, this one included."""

    def end(self) -> None:
        """The process ends in order."""
