"""Workers inside a test's own process that push and pull vectors of a size of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

from asgd.spec.types import Codec
from asgd.worker.sending.centre import Centre, open_centre
from asgd.worker.sending.headers import PeerIdentity
from tests.checks.processes import Processes


def centre(run: Processes, index: int, size: int, lane: str = "auto") -> Centre:
    """Worker number `index` of `run`, with a model of `size` parameters."""
    config = run.config(index)
    identity = PeerIdentity(
        job="check", role="worker", index=index, incarnation=config.incarnation, size=size, layout="layout"
    )
    return open_centre(config.servers, None, identity, Codec(), lane=lane)


def until(holds: Callable[[], bool], patience_seconds: float = 60.0) -> None:
    """Waits for something that other processes do."""
    deadline = time.monotonic() + patience_seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
