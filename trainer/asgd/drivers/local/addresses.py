"""Where the processes of a run on this machine are found: servers by ipc or tcp, metrics by port."""

from __future__ import annotations

import socket
from pathlib import Path


class Ports:
    """host:port for each process in turn: any free one, or a run of them."""

    def __init__(self, first: int | None) -> None:
        self._next = first

    def next(self) -> str:
        if self._next is None:
            return "127.0.0.1:0"
        port, self._next = self._next, self._next + 1
        return f"127.0.0.1:{port}"


def endpoints(shards: int, transport: str, folder: Path) -> list[str]:
    """Where each shard of a run listens, by `ipc` in its private `folder` or by `tcp` on free ports."""
    if transport == "ipc":
        return [f"ipc://{folder}/server-{index}" for index in range(shards)]
    ports = []
    sockets = [socket.socket() for _ in range(shards)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
    for listener in sockets:
        listener.close()
    return [f"tcp://127.0.0.1:{port}" for port in ports]
