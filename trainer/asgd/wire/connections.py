"""Bounds what connections to a server's TCP port hold: ZeroMQ takes in whatever comes before it knows who speaks.

`MAXMSGSIZE` bounds a frame, and nothing bounds how many connections send one, or how many frames belong together: a
message is delivered when its last frame has come. So a thread watches the port's connections from outside. The kernel
tells how many bytes each has brought (TCP_INFO), the server tells of which a message has come, and what is held without
being delivered is the difference. Who holds too much is hung up on; a peer that meant well connects again by itself.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from asgd.wire.limits import FRAME_MOST, HELD_MOST, STRANGERS_MOST

LOOK_MS = 20
"""Between two looks while there are strangers: what a fast network brings meanwhile is held above the bound."""
CALM_MS = 500
"""The same while all are known."""
_TCP_INFO = struct.Struct("128xQ")
"""tcpi_bytes_received; Linux 4.1 and newer."""


@dataclass(slots=True)
class Link:
    """A connection as it was last looked at; `descriptor` is ZeroMQ's own."""

    descriptor: int
    inode: int
    since: float
    taken: int = 0
    """Bytes that ZeroMQ has taken from the kernel."""
    delivered: int = 0
    """How many of them had been delivered when a message of it was last noticed."""
    heard: bool = False

    @property
    def held(self) -> int:
        """Bytes that may still wait for the server, or for the rest of their message."""
        return self.taken - self.delivered


def surplus(links: Iterable[Link]) -> list[Link]:
    """Which connections to end: the oldest strangers beyond their number, then those that hold most."""
    known = [link for link in links if link.heard]
    strangers = sorted((link for link in links if not link.heard), key=lambda link: link.since, reverse=True)
    ended = [link for link in known if link.held > HELD_MOST] + strangers[STRANGERS_MOST:]
    strangers = sorted(strangers[:STRANGERS_MOST], key=lambda link: link.held)
    total = sum(link.held for link in strangers)
    while total > HELD_MOST:
        ended.append(strangers.pop())
        total -= ended[-1].held
    return ended


class Watch:
    """Watches the connections that `router`, a bound ZeroMQ socket, accepts; a thread of its own until `close`."""

    def __init__(self, router: zmq.Socket[Any]) -> None:
        self._settled: frozenset[int] = frozenset()
        """Descriptors of the connections whose messages need not be noted now."""
        self._router = router
        self._monitor = router.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._links: dict[int, Link] = {}
        self._told: deque[int] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)
        self._thread.start()

    def note(self, frame: zmq.Frame) -> None:
        """A message has come whole, of which `frame` is a part; called by the thread that receives."""
        descriptor: Any = frame.get(zmq.SRCFD)
        if descriptor not in self._settled:
            self._told.append(descriptor)

    def _run(self) -> None:
        while not self._ended.is_set():
            strangers = any(not link.heard for link in self._links.values())
            self._monitor.poll(LOOK_MS if strangers else CALM_MS)
            # NB: in this order: of a connection that was noted, ZeroMQ has told that it was accepted.
            noted = [self._told.popleft() for _ in range(len(self._told))]
            self._hear()
            self._look(noted)
        self._router.disable_monitor()
        self._monitor.close(0)

    def _hear(self) -> None:
        """Takes in what ZeroMQ tells, in its order: a descriptor that is used again was told to be free before."""
        while self._monitor.poll(0):
            told = recv_monitor_message(self._monitor)
            descriptor = int(told["value"])
            self._links.pop(descriptor, None)
            if told["event"] == zmq.EVENT_ACCEPTED and (sock := _borrow(descriptor)):
                with sock:
                    inode = os.fstat(sock.fileno()).st_ino
                self._links[descriptor] = Link(descriptor, inode, time.monotonic())

    def _look(self, noted: Iterable[int]) -> None:
        for link in list(self._links.values()):
            if not self._measure(link):
                del self._links[link.descriptor]
        for descriptor in noted:
            if told := self._links.get(descriptor):
                told.heard, told.delivered = True, told.taken
        for link in surplus(self._links.values()):
            del self._links[link.descriptor]
            _hang_up(link)
        self._settled = frozenset(
            link.descriptor for link in self._links.values() if link.heard and link.held <= FRAME_MOST
        )

    @staticmethod
    def _measure(link: Link) -> bool:
        """Asks the kernel; False when the connection is no more."""
        sock = _borrow(link.descriptor)
        if sock is None:
            return False
        with sock:
            if os.fstat(sock.fileno()).st_ino != link.inode:
                return False
            link.taken = max(link.taken, _taken(sock))
        return True

    def close(self) -> None:
        """Ends the thread; the router is still open."""
        self._ended.set()
        self._thread.join()


def _borrow(descriptor: int) -> socket.socket | None:
    """A duplicate of ZeroMQ's descriptor: whatever ZeroMQ does with its own meanwhile, this one stays what it is."""
    try:
        return socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None


def _taken(sock: socket.socket) -> int:
    """Bytes that have come and do not wait in the kernel; 0 where the kernel does not tell."""
    try:
        received: int = _TCP_INFO.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        )[0]
        unread: int = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4))[0]
    except (OSError, AttributeError, struct.error):
        return 0
    return max(0, received - unread)


def _hang_up(link: Link) -> None:
    if sock := _borrow(link.descriptor):
        with sock:
            if os.fstat(sock.fileno()).st_ino == link.inode:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return
