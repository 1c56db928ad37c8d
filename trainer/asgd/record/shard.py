"""A shard's recorder: called by `Shard`, `RoundPart` and `Saver` at the points where the shard's state changes.

`stamp` counts the records; it goes out with each answer, so that a worker can say which state of the shard it has seen.
The base class records nothing: pods, the simulator and the replay itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgd.record.format import (
    Brought,
    Closed,
    Ended,
    Head,
    Joined,
    Left,
    Log,
    Pushed,
    Record,
    Rested,
    Restored,
    Saved,
    Told,
    checksum,
)
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

    def rested(self, worker: int) -> None:
        """A worker's clock was stopped."""

    def closed(self, order: Decided, facts: dict[str, Any]) -> None:
        """An order for a round is about to be carried out."""

    def saved(self, round_: int) -> None:
        """The state of this moment is checkpoint round `round_`."""

    def restored(self, round_: int) -> None:
        """The state is that of checkpoint round `round_`."""

    def end(self) -> None:
        """The process ends in order."""


class ShardRecorder(Recorder):
    """Appends to `folder`/shard-INDEX-TERM.log."""

    records = True

    def __init__(self, folder: Path, index: int, term: int) -> None:
        self._log = Log(folder / f"shard-{index}-{term}.log", Head("shard", index, term))

    def _add(self, record: Record) -> None:
        self._log.add(record)
        self.stamp += 1

    def pushed(self, message: Exchange, payload: Any) -> None:
        self._add(Pushed(message.index, message.sequence, message.chunk, checksum(payload)))

    def told(self, worker: int, asked: Exchange | Pull) -> None:
        self._add(Told(worker, asked.chunk, asked.held, asked.part, asked.parts))

    def joined(self, message: Hello) -> None:
        who = message
        self._add(
            Joined(
                who.role, who.index, who.incarnation, who.size, who.layout, who.dataset, who.sequence, who.node,
                who.tensors,
            )
        )  # fmt: skip

    def brought(self, message: Init, payload: Any) -> None:
        self._add(Brought(message.index, message.chunk, checksum(payload)))

    def left(self, worker: int) -> None:
        self._add(Left(worker))

    def rested(self, worker: int) -> None:
        self._add(Rested(worker))

    def closed(self, order: Decided, facts: dict[str, Any]) -> None:
        # Deciding may have left its mark in shard 0's facts, and is not done again when the round is replayed.
        kept = {} if order.measure else facts
        self._add(Closed(order.number, order.term, order.members, order.measure, order.decision, kept))

    def saved(self, round_: int) -> None:
        self._add(Saved(round_))

    def restored(self, round_: int) -> None:
        self._add(Restored(round_))

    def end(self) -> None:
        self._add(Ended())
        self._log.close()


def recorder(folder: Path | None, index: int, term: int) -> Recorder:
    """The recorder of a shard's start; `folder` None: this run is not recorded."""
    return ShardRecorder(folder, index, term) if folder else Recorder()
