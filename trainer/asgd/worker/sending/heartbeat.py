"""A worker's sign of life, from a thread that does not compute: a compile of minutes or a long step silences nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import zmq

from asgd.errors import ProtocolError
from asgd.wire import control
from asgd.wire.messages import Beat, Beaten, Message, decode, encode
from asgd.wire.reports import WorkerReport
from asgd.worker.sending.headers import BEAT_SECONDS, PeerIdentity

LAST_BEAT_SECONDS = 0.1
"""Once training is over: what comes then (the final evaluation) is not to be heard of late."""


class Heartbeat:
    """Beats to shard 0 from `start` until `close`; `heard` is its newest answer. `report` gives what goes along."""

    def __init__(
        self, endpoint: str, keys: control.Keys | None, identity: PeerIdentity,
        report: Callable[[], WorkerReport | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.heard = Beaten()
        self.report = report
        self._endpoint, self._keys, self._identity = endpoint, keys, identity
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to beat, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        socket = control.dealer(context, self._endpoint, self._keys)
        # NB: while the server is away only the newest beat is worth keeping.
        socket.sndhwm = 2
        while not self._ended.wait(LAST_BEAT_SECONDS if self.heard.stop else BEAT_SECONDS):
            self._beat(socket)
        self._beat(socket)
        context.destroy(linger=0)

    def _beat(self, socket: zmq.Socket[Any]) -> None:
        who = self._identity
        try:
            socket.send(encode(Beat(who.role, who.index, who.incarnation, self.report())), zmq.NOBLOCK)
        except zmq.Again:
            return
        while socket.poll(int(BEAT_SECONDS * 500)):
            self._take(socket.recv())
            if self._ended.is_set():
                return

    def _take(self, frame: bytes) -> None:
        try:
            message: Message = decode(frame)
        except ProtocolError:
            return
        if isinstance(message, Beaten):
            self.heard = message

    def close(self) -> None:
        """Ends the thread after a last beat."""
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=2)
