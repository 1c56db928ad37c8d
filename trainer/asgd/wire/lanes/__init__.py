"""Lanes: ways for messages and payload to reach a shard, behind one small interface.

Which lane a worker and a shard use is agreed at Hello (`lanes` offered, `lane` chosen). ZeroMQ always works and carries
membership and control; faster lanes for bulk payload take its place for Exchange, Pull and Reply only.
"""

from __future__ import annotations

from typing import Any, Protocol

from asgd.wire.messages import AnyMessage, Message

WINDOW = 2
"""Chunks under way to one shard that travel: enough to keep the link busy, little memory on the server."""
SHARED_WINDOW = 16
SHARED_RUN = 8
"""Chunks announced at once, and by one message, where none of them has to travel: fewer wake-ups and messages."""


class Lane(Protocol):
    """One peer's connection to one shard; not thread-safe, owned by whoever exchanges."""

    @property
    def name(self) -> str:
        """zmq | tcp | shm: what bulk goes over now."""

    @property
    def window(self) -> int:
        """Chunks that may be on their way at once where they travel with their messages."""

    @property
    def announced(self) -> int:
        """The same of pushed chunks as they are, which some lanes only announce."""

    @property
    def run(self) -> int:
        """Chunks that one message may be about."""

    def polls(self) -> list[tuple[Any, int]]:
        """What to wait for now: (ZeroMQ socket or file descriptor, zmq.POLLIN | zmq.POLLOUT).

        Called before each wait: small messages that were put off until then go out.
        """

    def send(self, message: Message, payload: Any = None) -> None:
        """Queues a message; `payload` (float32 or packed) may be read until its reply has come."""

    def receive(self) -> tuple[AnyMessage, Any] | None:
        """The next message and its payload (a buffer that lives as long as it is referenced), or None."""

    def waits(self, now: float) -> bool:
        """Whether what was sent is surely on its way, and need not be sent again."""

    def returned(self) -> bool:
        """Whether the shard, which was gone, can be reached again since the last look: what was sent may be lost."""

    def close(self) -> None:
        """Ends the connection; what is queued may still go out."""


class Fed:
    """What lanes have in common whose two ends live in one process: what arrives is handed to the worker's channel."""

    run = 1

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return None

    def returned(self) -> bool:
        return False

    def close(self) -> None:
        return None
