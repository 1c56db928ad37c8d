"""A small HTTP server that strangers cannot fill: one thread, a bound on connections, bytes and seconds of each.

Anybody may reach the port of /metrics and /healthz. So a connection is there for one request: it has a few seconds and
kilobytes to ask, a few seconds to take the answer, and is then closed. When all places are taken the one that has asked
nothing for the longest time makes room, so that probes are answered while hundreds of idle connections are held open.
Python's own servers give each connection a thread that waits for ever.
"""

from __future__ import annotations

import selectors
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

from asgd.host.say import say

CONNECTIONS_MOST = 64
REQUEST_MOST = 1 << 13
"""Bytes of a request's head; a body is not read."""
ASK_SECONDS = 5.0
"""From the connection to the end of the request's head."""
ANSWER_SECONDS = 10.0
"""From there until the peer has taken the answer."""
TICK_SECONDS = 0.2
ACCEPTED_MOST = 64
"""Connections that are accepted in one turn."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}
_REASONS |= {431: "Request Header Fields Too Large", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the path without its query, and headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` is one of `_REASONS`."""

    code: int
    kind: str
    body: bytes


def parse(head: bytes) -> Request | None:
    """The request of a head that ends with an empty line; None when it is no HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon:
            return None
        headers[name.strip().lower()] = value.strip()
    return Request(parts[0], parts[1].partition("?")[0], headers)


def rendered(answer: Answer) -> bytes:
    """The bytes of an answer after which the connection ends."""
    head = (
        f"HTTP/1.1 {answer.code} {_REASONS[answer.code]}\r\nContent-Type: {answer.kind}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + answer.body


@dataclass(slots=True, eq=False)
class _Visitor:
    socket: socket.socket
    due: float
    """When it is hung up on."""
    asked: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    """What it has still to take; None while it asks."""


class HttpServer:
    """Answers GET requests at `host`:`port` (0: a free one) in a thread. Raises OSError when the port is in use."""

    def __init__(self, host: str, port: int, answer: Callable[[Request], Answer]) -> None:
        self._listener = socket.create_server((host, port), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._answer = answer
        self._selector = selectors.DefaultSelector()
        self._visitors: set[_Visitor] = set()
        self._said: set[str] = set()
        self._ended = Event()
        self._thread = Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and all connections."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._ended.is_set():
            for key, _ in self._selector.select(TICK_SECONDS):
                if key.data is None:
                    self._accept()
                elif key.data in self._visitors:
                    self._go_on(key.data)
            self._tick(time.monotonic())
        for visitor in list(self._visitors):
            self._end(visitor)
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MOST):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Out of descriptors: whoever waits is let in after the next tick.
                self._selector.unregister(self._listener)
                return
            if len(self._visitors) >= CONNECTIONS_MOST:
                self._end(min(self._visitors, key=lambda visitor: (visitor.answer is not None, visitor.due)))
            sock.setblocking(False)
            visitor = _Visitor(sock, time.monotonic() + ASK_SECONDS)
            self._visitors.add(visitor)
            self._selector.register(sock, selectors.EVENT_READ, visitor)

    def _tick(self, now: float) -> None:
        for visitor in [visitor for visitor in self._visitors if now > visitor.due]:
            self._end(visitor)
        if self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _go_on(self, visitor: _Visitor) -> None:
        try:
            if visitor.answer is None:
                self._read(visitor)
            if visitor.answer is not None:
                visitor.answer = visitor.answer[visitor.socket.send(visitor.answer) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end(visitor)
            return
        if visitor.answer is not None and not visitor.answer:
            self._end(visitor)

    def _read(self, visitor: _Visitor) -> None:
        """Reads on; a whole head gets its answer. Raises OSError when the peer is gone."""
        read = visitor.socket.recv(REQUEST_MOST + 1 - len(visitor.asked))
        if not read:
            raise ConnectionResetError
        visitor.asked += read
        head, end, _ = bytes(visitor.asked).partition(b"\r\n\r\n")
        if not end and len(visitor.asked) <= REQUEST_MOST:
            return
        answer = (
            self._answered(parse(head)) if end else Answer(431, "text/plain", b"the request is too long\n")
        )
        visitor.answer, visitor.due = memoryview(rendered(answer)), time.monotonic() + ANSWER_SECONDS
        self._selector.modify(visitor.socket, selectors.EVENT_WRITE, visitor)

    def _answered(self, request: Request | None) -> Answer:
        if request is None:
            return Answer(400, "text/plain", b"this is no HTTP/1 request\n")
        if request.method != "GET":
            return Answer(405, "text/plain", b"known: GET\n")
        try:
            return self._answer(request)
        except Exception:
            # NB: what goes wrong with one page ends neither the other pages nor the thread.
            told = traceback.format_exc()
            if told not in self._said and len(self._said) < 16:
                self._said.add(told)
                say(f"{request.path} cannot be shown: {told}")
            return Answer(500, "text/plain", b"this page cannot be shown; the log says why\n")

    def _end(self, visitor: _Visitor) -> None:
        self._visitors.discard(visitor)
        self._selector.unregister(visitor.socket)
        visitor.socket.close()
