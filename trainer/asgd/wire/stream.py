"""Frames over a non-blocking byte stream (TCP or a unix socket), received into kept memory.

A frame is 8 bytes (length of header, length of payload, little-endian), the header of `messages.py`, the payload. Large
payloads go straight from the socket to where `place` wants them, and from their array to the socket; there is no
full-size temporary, and a poller is woken for a good part of one at a time. Sealed (`seal.py`), header and payload are
a box each and the 8 bytes are authenticated with both. Lengths are checked before anything is believed. What the socket
does not take at once waits here: as a copy where the memory may change before it is gone (`copy`), else by reference.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asgd.errors import ProtocolError
from asgd.wire.limits import HEADER_MOST, PAYLOAD_MOST
from asgd.wire.messages import AnyMessage, decode
from asgd.wire.seal import TAG, Seal

_PREFIX = struct.Struct("<II")
_READ = 1 << 15
"""Bytes asked for when a frame begins: small frames come whole, of large ones at most this much is copied."""
_LOW_WATER = 1 << 19
"""Bytes of a payload that must have come before its end is worth a wake-up; all that is left, if that is less."""

Place = Callable[[AnyMessage, int], memoryview | None]
"""Where a message's payload of so many bytes is to lie; None: in the stream's own memory, until the next receive."""


class Closed(Exception):
    """The other end is gone, or broke the rules; the stream is of no more use."""


class Stream:
    """One end of a connection; owned by one thread. Errors of the socket and of framing raise `Closed`."""

    def __init__(self, sock: socket.socket, seal: Seal | None, *, copy: bool) -> None:
        sock.setblocking(False)
        self.socket, self._seal, self._copy = sock, seal, copy
        self._extra = TAG if seal else 0
        self._queue: deque[memoryview] = deque()
        self._late = bytearray()
        """Frames that were put off."""
        self.queued = 0
        """Bytes that wait for room in the socket."""
        self.moved = 0
        """Bytes sent and received so far: grows while the connection lives."""
        self._head = memoryview(bytearray(_READ))
        self._start, self._filled = 0, 0
        self._own = memoryview(b"")
        self._boxes = memoryview(b"")
        self._spare = memoryview(b"")
        self._message: AnyMessage | None = None
        self._about = b""
        self._into = memoryview(b"")
        self._plain: memoryview | None = None
        self._got = 0
        self._low_water = 1
        self._emptied = False
        """The last read got less than it had room for: the socket had no more."""

    # -- sending -----------------------------------------------------------------------------------

    def send(self, header: bytes, payload: Any = None) -> None:
        """Sends a frame, or what of it the socket takes now. Raises Closed."""
        body = None if payload is None else memoryview(payload).cast("B")
        self._emptied = False
        self._queue_late()
        parts, stable = self._frame(header, body)
        if not self._queue:
            parts = self._try(parts)
        for part in parts:
            self._queue.append(part if stable else memoryview(bytes(part)))
            self.queued += part.nbytes

    def put_off(self, header: bytes) -> None:
        """A frame without payload that may wait for the next `flush`: several go out together."""
        self._emptied = False
        for part in self._frame(header, None)[0]:
            self._late += part

    def introduce(self, token: bytes) -> None:
        """Sends the token that opens the connection, as it is, ahead of all frames. Raises Closed."""
        left = self._try([memoryview(token)])
        self._queue.extend(left)
        self.queued += sum(part.nbytes for part in left)

    def _queue_late(self) -> None:
        if self._late:
            self._queue.append(memoryview(self._late))
            self.queued += len(self._late)
            self._late = bytearray()

    def _frame(self, header: bytes, body: memoryview | None) -> tuple[list[memoryview], bool]:
        """The frame's pieces, and whether they keep their contents until they are sent."""
        size = 0 if body is None else body.nbytes
        prefix = _PREFIX.pack(len(header), size)
        if self._seal is None:
            parts = [memoryview(prefix + header)]
            return (parts if not size else [*parts, body]), not self._copy  # type: ignore[list-item]
        start = len(prefix)
        total = start + len(header) + TAG + (size + TAG if size else 0)
        if self._spare.nbytes < total:
            self._spare = memoryview(bytearray(total))
        box = self._spare[:total]
        box[:start] = prefix
        end = start + len(header) + TAG
        self._seal.close_box(prefix, header, box[start:end])
        if size:
            self._seal.close_box(prefix, body, box[end:])
        return [box], False

    def _try(self, parts: list[memoryview]) -> list[memoryview]:
        """What is left of `parts` when the socket is full."""
        try:
            sent = self.socket.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return parts
        except OSError as error:
            # NB: a socket that is still connecting has no peer yet.
            if error.errno == errno.ENOTCONN and not self.moved:
                return parts
            raise Closed(str(error)) from error
        self.moved += sent
        left = []
        for part in parts:
            taken = min(sent, part.nbytes)
            sent -= taken
            if taken < part.nbytes:
                left.append(part[taken:])
        return left

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it. Raises Closed."""
        self._queue_late()
        while self._queue:
            parts = [self._queue[i] for i in range(min(16, len(self._queue)))]
            before = sum(part.nbytes for part in parts)
            left = self._try(parts)
            after = sum(part.nbytes for part in left)
            self.queued -= before - after
            for _ in parts:
                self._queue.popleft()
            self._queue.extendleft(reversed(left))
            if after:
                return

    # -- receiving ---------------------------------------------------------------------------------

    def receive(self, place: Place) -> tuple[AnyMessage, memoryview | None] | None:
        """The next frame, or None when it is not all there. Raises Closed."""
        try:
            while True:
                if self._message is None and not self._begin(place):
                    if self._emptied:
                        # NB: whoever polls is told of more; asking in vain takes as long as half a small message.
                        self._emptied = False
                        return None
                    if not self._read_head():
                        return None
                    continue
                if self._got == self._into.nbytes:
                    self._wait_for(1)
                    return self._finish()
                count = self._read(self._into[self._got :])
                self._emptied = False
                if count is None:
                    self._wait_for(min(_LOW_WATER, self._into.nbytes - self._got))
                    return None
                self._got += count
        except ProtocolError as error:
            raise Closed(str(error)) from error

    def _read(self, into: memoryview) -> int | None:
        try:
            count = self.socket.recv_into(into)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise Closed(str(error)) from error
        if count == 0:
            raise Closed("the other end has closed the connection")
        self.moved += count
        return count

    def _wait_for(self, size: int) -> None:
        """Whoever polls the socket is woken when so many bytes are there, or it has ended.

        NB: not a unix socket, whose sender's buffer may have room for less: then neither end would ever go on.
        """
        if size != self._low_water and self.socket.family != socket.AF_UNIX:
            self._low_water = size
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _read_head(self) -> bool:
        if self._start:
            rest = bytes(self._head[self._start : self._filled])
            self._head[: len(rest)] = rest
            self._start, self._filled = 0, len(rest)
        room = self._head[self._filled :]
        count = self._read(room)
        self._emptied = count is not None and count < room.nbytes
        self._filled += count or 0
        return count is not None

    def _begin(self, place: Place) -> bool:
        """Takes a frame's header from what has been read; False when it is not all there."""
        start, have = self._start, self._filled - self._start
        if have < _PREFIX.size:
            return False
        header_size, size = _PREFIX.unpack_from(self._head, start)
        if header_size > HEADER_MOST or size > PAYLOAD_MOST:
            raise ProtocolError(f"a frame of {header_size} + {size} bytes")
        whole = _PREFIX.size + header_size + self._extra
        if have < whole:
            if whole > self._head.nbytes:
                larger = memoryview(bytearray(whole + _READ))
                larger[: self._filled] = self._head[: self._filled]
                self._head = larger
            return False
        header = self._head[start + _PREFIX.size : start + whole]
        if self._seal is not None:
            self._about = bytes(self._head[start : start + _PREFIX.size])
            plain = memoryview(bytearray(header_size))
            self._seal.open_box(self._about, header, plain)
            header = plain
        self._message = decode(header)
        self._start += whole
        self._aim(size, place(self._message, size) if size else None)
        return True

    def _aim(self, size: int, wanted: memoryview | None) -> None:
        """Decides where the payload goes, and takes what of it has been read with the header."""
        self._got = 0
        if not size:
            self._into, self._plain = self._own[:0], None
            return
        if wanted is None:
            if self._own.nbytes < size:
                self._own = memoryview(bytearray(size))
            wanted = self._own[:size]
        self._plain = self._into = wanted
        if self._seal is not None:
            if self._boxes.nbytes < size + TAG:
                self._boxes = memoryview(bytearray(size + TAG))
            self._into = self._boxes[: size + TAG]
        self._got = min(self._filled - self._start, self._into.nbytes)
        self._into[: self._got] = self._head[self._start : self._start + self._got]
        self._start += self._got

    def _finish(self) -> tuple[AnyMessage, memoryview | None]:
        message, payload = self._message, self._plain
        assert message is not None
        if self._seal is not None and payload is not None:
            self._seal.open_box(self._about, self._into, payload)
        self._message = None
        return message, payload

    def close(self) -> None:
        """Ends the connection at once."""
        self._queue.clear()
        self.socket.close()


def tune(sock: socket.socket) -> None:
    """Options of a bulk connection: no waiting for more to send, and dead peers are noticed.

    A unix socket gets room for a chunk. TCP's buffers are the kernel's choice, which grows with what they carry
    and how far that goes; buffers that are given do not.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
