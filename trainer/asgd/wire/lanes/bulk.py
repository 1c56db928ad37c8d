"""A worker's way to one shard: ZeroMQ for control, and a byte stream of its own for bulk when the shard offers one.

Hello and everything about membership goes over ZeroMQ. The Welcome may name an address and a one-time token; from then
on Exchange and Pull, and their replies, travel over that connection. When it breaks or goes silent, the owner hears it
as the shard's `Fault("hello")`, which is what it does after a server's restart as well: say hello, start the push over.
After two connections that came to nothing the lane stays with ZeroMQ for a minute.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import zmq

from asgd.errors import UserError
from asgd.kernel import F32
from asgd.wire import control, seal
from asgd.wire.lanes import SHARED_RUN, SHARED_WINDOW, WINDOW, shm
from asgd.wire.lanes.shm import Segment
from asgd.wire.lanes.zeromq import ZmqLane
from asgd.wire.limits import TENSORS_MOST
from asgd.wire.messages import AnyMessage, Exchange, Fault, Hello, Message, Pull, Reply, Welcome, encode
from asgd.wire.partition import Range, chunk_slice
from asgd.wire.stream import Closed, Place, Stream, tune

STALL_SECONDS = 3.0
"""A connection on which no byte moves for so long, while something is asked, is given up."""
FAILURES_MOST = 2
AVOID_SECONDS = 60.0


def nowhere(message: AnyMessage, size: int) -> memoryview | None:
    """Payloads stay in the stream's own memory."""
    return None


class BulkLane:
    """The lanes to the shard at `endpoint`. `offers`: what to ask for at hello, as ('tcp',)."""

    def __init__(
        self, context: zmq.Context[Any], endpoint: str, keys: control.Keys | None, offers: tuple[str, ...],
        segment: Segment | None = None,
    ) -> None:  # fmt: skip
        self._zmq = ZmqLane(context, endpoint, keys)
        self._endpoint, self._offers = endpoint, offers
        self._segment = segment
        self._shares = Range(0, 0)
        """What the shard holds of the segment's vectors; nothing on other lanes than shm."""
        self.weights: F32 | None = None
        """The shard's weights where it updates them, to be read in place; answers to pushes then bring none."""
        self._sealed = keys is not None and not control.is_local(endpoint)
        if self._sealed and not seal.available():
            self._offers = ()
        self.place: Place = nowhere
        self._stream: Stream | None = None
        self._broken = ""
        self._hello: Hello | None = None
        """The hello whose welcome is awaited."""
        self._random = b""
        self._pulls = False
        self._moved = (0, 0, 0)
        self._moved_at = 0.0
        self._heard = False
        self._failures = 0
        self._avoid_until = 0.0

    @property
    def name(self) -> str:
        """The lane that bulk takes now."""
        return "zmq" if self._stream is None else "shm" if self._shares.size else "tcp"

    window = WINDOW

    @property
    def announced(self) -> int:
        return SHARED_WINDOW if self._stream is not None and self._shares.size else WINDOW

    @property
    def run(self) -> int:
        return SHARED_RUN if self._stream is not None and self._shares.size else 1

    def polls(self) -> list[tuple[Any, int]]:
        if self._stream is not None:
            try:
                self._stream.flush()
            except Closed as error:
                self._break(str(error))
        if self._stream is None:
            # NB: one thing more to poll, which a busy stream is spared: it tells by itself when the shard is gone.
            return [*self._zmq.polls(), (self._zmq.monitor, zmq.POLLIN)]
        events = zmq.POLLIN | zmq.POLLOUT if self._stream.queued else zmq.POLLIN
        return [*self._zmq.polls(), (self._stream.socket.fileno(), events)]

    # -- sending -----------------------------------------------------------------------------------

    def send(self, message: Message, payload: Any = None) -> None:
        if isinstance(message, Hello):
            self._say_hello(message)
        elif self._stream is not None and isinstance(message, Exchange | Pull):
            self._pulls = isinstance(message, Pull)
            if self.weights is not None and isinstance(message, Exchange):
                message.pull = False
            if self._shares.size and isinstance(message, Exchange) and isinstance(payload, np.ndarray):
                payload = self._share(message, payload)
            try:
                if payload is None:
                    self._stream.put_off(encode(message))
                else:
                    self._stream.send(encode(message), payload)
            except Closed as error:
                self._break(str(error))
        elif not self._broken or not isinstance(message, Exchange | Pull):
            self._zmq.send(message, payload)

    def _share(self, message: Exchange, payload: F32) -> F32 | None:
        """Puts a chunk into shared memory, unless it lies there; a packed one, or of a part, goes along."""
        assert self._segment is not None
        if message.codec != "fp32" or message.parts > 1:
            return payload
        if payload.base is not self._segment.push:
            self._held(self._segment.push, message.chunk, message.run)[:] = payload
        message.shared = True
        return None

    def _shared(self, message: Reply) -> memoryview:
        """The weights that the shard has put into shared memory."""
        assert self._segment is not None
        held = self._held(self._segment.pull, message.chunk, message.run)
        wanted = self.place(message, held.nbytes)
        if wanted is not None and getattr(wanted.obj, "base", None) is self._segment.pull:
            return wanted
        return held.data

    def _held(self, vector: F32, chunk: int, run: int) -> F32:
        """Some chunks of this shard's in one of the segment's vectors."""
        return vector[self._shares.start : self._shares.stop][chunk_slice(self._shares.size, chunk, run=run)]

    def _say_hello(self, message: Hello) -> None:
        """A hello begins a new session; repeated before its welcome has come, it is the same one."""
        self._drop()
        self._broken = ""
        if self._hello is None:
            self._random = os.urandom(seal.RANDOM)
        self._hello = message
        if self._offers and time.monotonic() >= self._avoid_until:
            message.lanes = (*self._offers, "zmq")
            message.random = self._random
            if self._segment and "shm" in self._offers:
                message.segment, message.segment_token = self._segment.path.name, self._segment.token
        if len(message.tensors) > TENSORS_MOST:
            raise UserError(
                f"spec.entrypoint: the names and shapes of the model's tensors take {len(message.tensors)} bytes;"
                f" allowed: {TENSORS_MOST}"
            )
        self._zmq.send(message)

    # -- receiving ---------------------------------------------------------------------------------

    def receive(self) -> tuple[AnyMessage, Any] | None:
        if self._broken:
            text, self._broken = self._broken, ""
            return Fault("hello", text), None
        if self._stream is not None:
            try:
                if self._stream.queued:
                    self._stream.flush()
                frame = self._stream.receive(self.place)
            except Closed as error:
                self._break(str(error))
                return self.receive()
            if frame is not None:
                self._heard = True
                return self._arrived(*frame)
        arrived = self._zmq.receive()
        if arrived and isinstance(arrived[0], Welcome):
            self._welcomed(arrived[0])
        return arrived

    def _arrived(self, message: AnyMessage, payload: Any) -> tuple[AnyMessage, Any] | None:
        if self._shares.size and isinstance(message, Reply) and message.shared:
            return message, self._shared(message)
        if self._shares.size and isinstance(message, Fault) and message.code == "order":
            # NB: what is announced already must not be answered any more, for it would be written while this
            # worker computes with what it has pulled. A new session sees to that.
            self._break(message.text)
            return self.receive()
        return message, payload

    def _welcomed(self, message: Welcome) -> None:
        hello = self._hello
        if hello is None or not message.ready:
            return
        self._hello = None
        if message.lane in self._offers and message.token:
            try:
                self._connect(hello, message)
            except (OSError, ValueError) as error:
                self._failed()
                self._break(str(error))

    def _connect(self, hello: Hello, message: Welcome) -> None:
        sock = _socket(message.address, self._endpoint)
        keys = None
        if self._sealed:
            about = f"{hello.job} shard {message.shard} {hello.role} {hello.index} {hello.incarnation}"
            keys = seal.Seal(*seal.session_keys(self._random, message.random, about))
        self._stream = Stream(sock, keys, copy=False)
        self._shares = Range(message.start, message.stop) if message.lane == "shm" else Range(0, 0)
        held = shm.open_weights(message.weights, self._shares.size) if message.weights else None
        self.weights = held.vector if held else None
        self._heard, self._moved, self._moved_at = False, (0, 0, 0), time.monotonic()
        try:
            self._stream.introduce(message.token)
        except Closed as error:
            self._break(str(error))

    # -- when it breaks ----------------------------------------------------------------------------

    def waits(self, now: float) -> bool:
        """Whether what was sent is still on its way, so that sending it again would be no use."""
        if self._broken:
            return True
        if self._stream is None:
            return False
        moved = (self._stream.moved, *_held_by_kernel(self._stream.socket))
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        elif now - self._moved_at > STALL_SECONDS:
            self._break(f"no byte has moved for {STALL_SECONDS:.0f} s")
            return True
        # NB: a pull may be held back for long; asked again, it is answered at once that it waits.
        return not self._pulls

    def returned(self) -> bool:
        return self._stream is None and self._zmq.returned()

    def _break(self, why: str) -> None:
        if self._stream is not None and not self._heard:
            self._failed()
        self._drop()
        self._broken = f"the bulk connection is gone: {why}"

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_MOST:
            self._failures, self._avoid_until = 0, time.monotonic() + AVOID_SECONDS

    def _drop(self) -> None:
        if self._stream is not None:
            if self._heard:
                self._failures = 0
            self._stream.close()
            self._stream = None
            self.weights = None

    def close(self) -> None:
        self._drop()
        self._zmq.close()


def _socket(address: str, endpoint: str) -> socket.socket:
    """A socket that is connecting to `address`; a TCP port is on the host of the shard's ZeroMQ endpoint."""
    if address.startswith("ipc://"):
        sock = socket.socket(socket.AF_UNIX)
        tune(sock)
        sock.setblocking(False)
        sock.connect(address.removeprefix("ipc://"))
        return sock
    host, port = urlsplit(endpoint).hostname, urlsplit(address).port
    if host is None or port is None:
        raise ValueError(f"{address!r} is no address of a bulk lane")
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    tune(sock)
    sock.setblocking(False)
    sock.connect_ex(where)
    return sock


def _held_by_kernel(sock: socket.socket) -> tuple[int, int]:
    """Bytes that the other end has not taken, and those that came and wait to be more: they change on a slow link."""
    try:
        asked = (fcntl.ioctl(sock, question, b"\0" * 4) for question in (termios.TIOCOUTQ, termios.FIONREAD))
        unsent, unread = (int(struct.unpack("i", answer)[0]) for answer in asked)
    except OSError:
        return 0, 0
    return unsent, unread
