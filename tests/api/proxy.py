"""The network between an operator and its API server, which a test can have swallow everything."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import yaml


class Proxy:
    """Forwards connections to the server that `kubeconfig` names, until it is told to swallow what it gets."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        host, _, port = self._cluster["server"].removeprefix("https://").rpartition(":")
        self._target = (host, int(port))
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that goes through here."""
        path = folder / "proxied.kubeconfig"
        port = self._listener.getsockname()[1]
        self._cluster["server"] = f"https://127.0.0.1:{port}"
        path.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        return path

    def swallow(self) -> None:
        """From now on nothing comes through, and nothing is refused either."""
        self._flows.clear()

    def close(self) -> None:
        self._listener.close()
        self._flows.set()

    @property
    def _cluster(self) -> dict[str, str]:
        found: dict[str, str] = self._config["clusters"][0]["cluster"]
        return found

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
