"""A worker's way to a shard in virtual time: what it says leaves by the simulated network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asgd.drivers.virtual.network import Network
from asgd.drivers.virtual.server import VirtualServer
from asgd.wire.lanes import WINDOW, Fed
from asgd.wire.messages import AnyMessage, Message


class VirtualLane(Fed):
    """One way of a worker, known to the network as `owner`, to one shard; answers go to `arrived`.

    It leads to one server as long as that lives, and then to whichever serves the shard.
    """

    name = "virtual"
    window = announced = WINDOW

    def __init__(self, owner: Any, servers: list[VirtualServer], shard: int, network: Network) -> None:
        self.owner, self._servers, self._shard, self._network = owner, servers, shard, network
        self._server = servers[shard]
        self._start = self._server.starts
        self.arrived: Callable[[AnyMessage, Any], None] = lambda message, payload: None
        """The server's answer is here."""

    def send(self, message: Message, payload: Any = None) -> None:
        # What is on its way must not change when its sender goes on.
        body = None if payload is None else np.frombuffer(bytes(payload), np.uint8)
        size = 0 if body is None else body.nbytes
        server = self._look()
        deliver: Callable[[], None] = lambda: server.receive(self, message, body)  # type: ignore[arg-type]  # noqa: E731  (a worker sends no bare Message)
        self._network.send(self.owner, server.owner, message, size, deliver)

    def _look(self) -> VirtualServer:
        if self._server.core is None:
            self._server = self._servers[self._shard]
        return self._server

    def returned(self) -> bool:
        """The server was started again."""
        before, self._start = self._start, self._look().starts
        return self._start != before

    def waits(self, now: float) -> bool:
        """A network that loses nothing need not be given anything twice."""
        return not self._network.loses
