"""One worker in a thread of this process that pushes without a pause and notes when each push was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asgd_bench.ours import Pusher
from asgd_bench.servers import Servers
from asgd_bench.system import Failed

WAIT_SECONDS = 60.0


class Steady:
    """Pushes to `servers`, whose model has `size` parameters, inside a `with`."""

    def __init__(self, servers: Servers, size: int) -> None:
        self.acknowledged: list[tuple[int, float]] = []
        """The server's term and the time (monotonic) of each acknowledged push."""
        self._servers, self._size = servers, size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._push, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(WAIT_SECONDS)

    def _push(self) -> None:
        pusher = Pusher(self._servers.job, self._servers.environment, 0, self._size, push=1e-6)
        while not self._over.is_set():
            pusher.update()
            self.acknowledged.append((pusher.centre.channels[0].term, time.monotonic()))
        pusher.centre.leave()

    def rate(self, begin: float, end: float) -> float:
        """Acknowledged pushes a second between two times."""
        return sum(begin < at <= end for _, at in self.acknowledged) / (end - begin)


def until(ready: Callable[[], bool]) -> None:
    """Looks often until `ready`. Raises Failed when it takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise Failed(f"nothing happened for {WAIT_SECONDS:.0f} s")
        time.sleep(0.005)
