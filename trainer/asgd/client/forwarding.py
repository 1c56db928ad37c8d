"""A port of this machine that leads to a port of a pod, as `kubectl port-forward` has it."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any, Self

from asgd.client.access import Access
from asgd.client.errors import ApiError, Unreachable
from asgd.errors import UserError

_PIECE = 1 << 16


class Forward:
    """Listens on `host`:`port` (0: a free one) until `close`; each connection is carried by itself."""

    def __init__(self, access: Access, pod: str, target: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self._access, self._pod, self._target = access, pod, target
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be listened on: {error.strerror}") from error
        self.host, self.port = host, int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = self._access.forward(self._pod, self._target)
        except (ApiError, Unreachable):
            near.close()
            return
        back = threading.Thread(target=_pipe, args=(far, near), daemon=True)
        back.start()
        _pipe(near, far)
        back.join()
        for each in (near, far):
            each.close()


def _pipe(source: Any, target: Any) -> None:
    try:
        while data := source.recv(_PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
