"""Numbered deltas for those who look, so that a page that was away for a moment goes on where it was. Pure.

The newest are kept as they were sent, bounded in number and bytes; who lacks an older one takes a new snapshot. While
nobody looks nothing is kept, and nothing encoded.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

MOST, BYTES_MOST = 120, 8 << 20
FORGET_SECONDS = 120.0
"""So long after the last look deltas are still made, for a page that comes back."""


class Feed:
    """`stamp` is this feed's own: numbers of another one mean nothing here."""

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self.number = 0
        """Of the newest delta."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._looked: float | None = None

    @property
    def id(self) -> str:
        """Of the newest delta."""
        return f"{self.stamp}-{self.number}"

    def look(self, t: float) -> None:
        """Somebody looks at `t`."""
        self._looked = t

    def add(self, delta: dict[str, Any], t: float, *, looks: bool) -> bytes:
        """One more delta; returns it as an event to send, or nothing where nobody would hear it."""
        self.number += 1
        if looks:
            self._looked = t
        if self._looked is None or t - self._looked > FORGET_SECONDS:
            self._kept.clear()
            self._bytes = 0
            return b""
        event = self.event("delta", msgspec.json.encode(delta))
        self._kept.append((self.number, event))
        self._bytes += len(event)
        while len(self._kept) > MOST or self._bytes > BYTES_MOST:
            self._bytes -= len(self._kept.popleft()[1])
        return event

    def event(self, name: str, data: bytes) -> bytes:
        """A server-sent event with the newest number."""
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (self.id.encode(), name.encode(), data)

    def since(self, last: str) -> list[bytes] | None:
        """All events after the one called `last`; None where some of them are gone: a snapshot is needed."""
        stamp, _, number = last.rpartition("-")
        if stamp != self.stamp or not number.isdecimal() or int(number) > self.number:
            return None
        missing = [event for at, event in self._kept if at > int(number)]
        return missing if len(missing) == self.number - int(number) else None
