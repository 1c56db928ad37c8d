"""The lane that always works: a ZeroMQ DEALER to the shard's ROUTER, CURVE outside `ipc`."""

from __future__ import annotations

from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from asgd.errors import ProtocolError
from asgd.wire import control
from asgd.wire.lanes import WINDOW
from asgd.wire.messages import AnyMessage, Message, decode, encode

_COPY_BELOW = 1 << 16
"""Bytes under which copying a payload is cheaper than tracking it (pyzmq#1032)."""


class ZmqLane:
    """A DEALER to `endpoint`; reconnects by itself."""

    name = "zmq"
    window = announced = WINDOW
    run = 1

    def __init__(self, context: zmq.Context[Any], endpoint: str, keys: control.Keys | None) -> None:
        self.socket = control.dealer(context, endpoint, keys)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._connections = 0

    def polls(self) -> list[tuple[Any, int]]:
        return [(self.socket, zmq.POLLIN)]

    def waits(self, now: float) -> bool:
        """Never: ZeroMQ does not tell what became of a message."""
        return False

    def send(self, message: Message, payload: Any = None) -> None:
        header = encode(message)
        if payload is None:
            self.socket.send(header)
            return
        self.socket.send(header, zmq.SNDMORE)
        size = payload.nbytes if hasattr(payload, "nbytes") else len(payload)
        self.socket.send(payload, copy=size < _COPY_BELOW)

    def receive(self) -> tuple[AnyMessage, Any] | None:
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if not frames:
            raise ProtocolError("an empty message")
        return decode(frames[0].buffer), frames[1].buffer if len(frames) > 1 else None

    def returned(self) -> bool:
        before = self._connections
        while int(self.monitor.get(zmq.EVENTS)) & zmq.POLLIN:
            recv_monitor_message(self.monitor)
            self._connections += 1
        return self._connections > max(1, before)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()
