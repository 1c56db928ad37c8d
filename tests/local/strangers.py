"""People without keys at a server's ports: connections that say nothing, too much, or nonsense; and what they cost."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

MIB = 1 << 20
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""How a client of ZeroMQ begins, whoever it is."""


def listening(pid: int) -> set[int]:
    """The TCP ports at which a process listens."""
    inodes = {path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


class Memory:
    """Watches what a process holds while the block runs; `grown` is the most that it held above the beginning, MiB."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/statm")
        self._over = threading.Event()
        self._before = self._held()
        self._most = self._before
        self._thread = threading.Thread(target=self._watch)

    def _held(self) -> int:
        return int(self._path.read_text(encoding="ascii").split()[1]) * 4096

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, self._held())

    @property
    def grown(self) -> float:
        return (self._most - self._before) / MIB

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


class Crowd:
    """Connections of strangers, all of which are closed when the block ends."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []

    def idle(self, port: int, count: int, first: bytes = b"") -> None:
        """Connections that say `first`, and then nothing."""
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port), timeout=30)
            self.open.append(stream)
            if first:
                say(stream, first)

    def announce(self, port: int, announced: int, sent: int, seconds: float) -> None:
        """One that announces a frame of ZeroMQ, sends so much of it, and waits."""
        stream = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.open.append(stream)
        deadline = time.monotonic() + seconds
        alive = say(stream, GREETING + b"\x06" + struct.pack(">Q", announced))
        while alive and sent > 0 and time.monotonic() < deadline:
            alive = say(stream, bytes(min(sent, MIB)))
            sent -= MIB

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self.open:
            stream.close()


def say(stream: socket.socket, words: bytes) -> bool:
    """Whether they could be sent: who is hung up on cannot."""
    try:
        stream.sendall(words)
    except OSError:
        return False
    return True
