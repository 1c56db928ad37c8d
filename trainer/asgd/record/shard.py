"""The recorder of a shard in `asgd run`: a log. Pods and the simulator record nothing; a replay compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

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
from asgd.record.recorder import Recorder
from asgd.wire.messages import Decided, Exchange, Hello, Init, Pull


class Appends(Protocol):
    """What a recorder writes to: a `Log`, or a replay's tape."""

    def add(self, record: Record) -> None:
        """The next record."""

    def close(self) -> None:
        """No record follows."""


class ShardRecorder(Recorder):
    """Appends to `log`."""

    records = True

    def __init__(self, log: Appends) -> None:
        self._log = log

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
                role=who.role,
                index=who.index,
                incarnation=who.incarnation,
                size=who.size,
                layout=who.layout,
                dataset=who.dataset,
                sequence=who.sequence,
                node=who.node,
                tensors=who.tensors,
                rule=who.rule,
            )
        )

    def brought(self, message: Init, payload: Any) -> None:
        self._add(Brought(message.index, message.chunk, checksum(payload)))

    def left(self, worker: int) -> None:
        self._add(Left(worker))

    def rested(self, worker: int) -> None:
        self._add(Rested(worker))

    def closed(self, order: Decided, facts: dict[str, Any]) -> None:
        # Deciding may have left its mark in shard 0's facts, and is not done again when the round is replayed.
        kept = {} if order.measure else facts
        self._add(
            Closed(
                number=order.number,
                term=order.term,
                members=order.members,
                measure=order.measure,
                decision=order.decision,
                facts=kept,
            )
        )

    def saved(self, save: int) -> None:
        self._add(Saved(save))

    def restored(self, save: int, rollbacks: int) -> None:
        self._add(Restored(save, rollbacks))

    def end(self) -> None:
        self._add(Ended())
        self._log.close()


def recorder(folder: Path | None, index: int, term: int) -> Recorder:
    """The recorder of a shard's start: `folder`/shard-INDEX-TERM.log; `folder` None: this run is not recorded."""
    if folder is None:
        return Recorder()
    return ShardRecorder(Log(folder / f"shard-{index}-{term}.log", Head("shard", index, term)))
