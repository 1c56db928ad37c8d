"""A worker's sign of life, from a thread that does not compute: a compile of minutes or a long step silences nobody.

The answer may be that shard 0 has given this process up, because it makes no progress. Its other threads hang then, so
this one ends the process; whoever started it starts it again.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from typing import Any

import zmq

from asgd import exitcodes
from asgd.errors import ProtocolError
from asgd.host.say import say
from asgd.wire import control
from asgd.wire.messages import Beat, Beaten, Message, decode, encode
from asgd.wire.reports import WorkerReport
from asgd.worker.sending.headers import BEAT_SECONDS, PeerIdentity
from asgd.worker.users_code import standing

LAST_BEAT_SECONDS = 0.1
"""Once training is over: what comes then (the final evaluation) is not to be heard of late."""


def end_hung(why: str) -> None:
    """Ends this process although its other threads hang: their stacks go to the log first. Exit code 75.

    The last line is a sentence, for whoever quotes the end of a log.
    """
    say(f"this process was given up: {why}; where its threads stand:")
    faulthandler.dump_traceback(all_threads=True)
    # NB: not by `print`, whose lock a thread that hangs may hold.
    os.write(2, f"asgd: given up as hung, at {standing() or 'no known line'}\n".encode(errors="replace"))
    os._exit(exitcodes.TRY_AGAIN)


class Heartbeat:
    """Beats to shard 0 from `start` until `close`; `heard` is its newest answer. `report` gives what goes along.

    `given_up` is called, in the heartbeat's thread, with the reason when shard 0 has given this process up.
    """

    def __init__(
        self, endpoint: str, keys: control.Keys | None, identity: PeerIdentity,
        report: Callable[[], WorkerReport | None] = lambda: None,
        given_up: Callable[[str], None] = end_hung, pause_seconds: float = BEAT_SECONDS,
    ) -> None:  # fmt: skip
        self.heard = Beaten()
        self._pause = pause_seconds
        self._given_up = given_up
        self.report = report
        self._endpoint, self._keys, self._identity = endpoint, keys, identity
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to beat, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def beats(self) -> bool:
        """It was started."""
        return self._thread is not None

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        socket = control.dealer(context, self._endpoint, self._keys)
        # NB: while the server is away only the newest beat is worth keeping.
        socket.sndhwm = 2
        while not self._ended.wait(LAST_BEAT_SECONDS if self.heard.stop else self._pause):
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
        if not isinstance(message, Beaten):
            return
        if message.given_up and not self._ended.is_set():
            self._given_up(message.given_up)
        else:
            self.heard = message

    def close(self) -> None:
        """Ends the thread after a last beat."""
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=2)
