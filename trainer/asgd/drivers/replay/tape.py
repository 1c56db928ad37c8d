"""A server's log while it is replayed: the run's records in their order, which the core must record again."""

from __future__ import annotations

from asgd.errors import UserError
from asgd.record.format import AnyRecord, Record


class Tape:
    """The log of a start, in place of a file: what the core records again must be what stands there next."""

    def __init__(self, name: str, records: list[AnyRecord]) -> None:
        self.name, self.records, self.at = name, records, 0

    @property
    def next(self) -> AnyRecord | None:
        """The record that comes next; None at the end."""
        return self.records[self.at] if self.at < len(self.records) else None

    def add(self, record: Record) -> None:
        """The core has done what it records. NB: one that was killed may not have come to the end of it."""
        if self.next is not None:
            if record != self.next:
                raise self.contradiction()
            self.at += 1

    def close(self) -> None:
        """The log's end."""

    def __str__(self) -> str:
        return f"{self.name}, record {self.at + 1}: {self.next}"

    def contradiction(self) -> UserError:
        """The log cannot be of a run of these workers and servers."""
        return UserError(f"the recording contradicts itself at {self}")
