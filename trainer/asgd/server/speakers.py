"""Whom each connection speaks for: the member that it has named first."""

from __future__ import annotations

from typing import Any

from asgd.server.admission import Speaker
from asgd.wire.messages import Beat, Gathered, Hello, Init, Lease, Message


class Speakers:
    """Remembers whom each connection speaks for: the member that it has named first. The oldest are forgotten."""

    MOST = 1 << 14

    def __init__(self) -> None:
        self._known: dict[Any, Speaker] = {}

    def get(self, sender: Any) -> Speaker | None:
        """Whom `sender` speaks for."""
        return self._known.get(sender)

    def note(self, sender: Any, message: Message) -> None:
        """A message of `sender` was admitted."""
        named = _named(message)
        if named and sender not in self._known:
            if len(self._known) >= self.MOST:
                del self._known[next(iter(self._known))]
            self._known[sender] = named


def _named(message: Message) -> Speaker | None:
    """NB: not by a goodbye or an evaluation, which come on connections of their own and name whom they are about."""
    match message:
        case Hello() | Beat():
            return message.role, message.index
        case Lease() | Init():
            return "worker", message.index
        case Gathered():
            return "shard", message.shard
        case _:
            return None
