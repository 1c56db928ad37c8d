"""Runs in all states that a page has to show, each a real `asgd run` of digits that somebody has hurt.

For the tests in which a browser looks at them, and for the pictures of the docs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asgd.page import DEFAULT, address
from asgd.spec.status import Status
from tests.local.run import Run

LONG = {"epochs": 400}


class Digits(Run):
    """A run of `tasks:digits` with its page.

    A step takes about `pace` seconds; `more` are further fields of the spec.
    """

    NAME = "digits"

    def __init__(self, folder: Path, *, pace: float, **more: Any) -> None:
        folder.mkdir(exist_ok=True)
        self._pace = folder / "pace"
        self._pace.write_text(str(pace), encoding="utf-8")
        spec: dict[str, Any] = {
            "entrypoint": "tasks:digits",
            "args": {"model": "mlp", "pace": str(self._pace)} | more.pop("args", {}),
            "optimizer": {"learningRate": 0.03},
            "workers": {"replicas": 4},
            "parameterServer": {"shards": 2},
            "evaluation": {"everySeconds": 2},
            "checkpoint": {"everySeconds": 5},
            "stopAfter": LONG,
        }
        super().__init__(folder, spec | more, "--page", DEFAULT, output="digits")

    def page(self) -> str:
        """Where it is served."""
        path = self.output / address.FILE
        return self.until(
            "its page is served", lambda: path.exists() and path.read_text(encoding="utf-8").strip()
        )

    def interrupt(self) -> int:
        """One Ctrl-C; the exit code."""
        self.signal_command(signal.SIGINT)
        return self.wait()

    def until_status(self, what: str, holds: Callable[[Status], bool]) -> Status:
        """Waits for a status for which `holds`."""

        def look() -> Status | None:
            status = self.status()
            return status if status and holds(status) else None

        status = self.until(what, look)
        assert status is not None
        return status


@contextmanager
def running(folder: Path, seconds: float = 0.0, pace: float = 0.02) -> Iterator[Digits]:
    """All is well, for `seconds` since the first update."""
    with Digits(folder, pace=pace, stopAfter={"epochs": 40 + 4 * seconds}) as run:
        run.until_updates(1)
        time.sleep(seconds)
        yield run


@contextmanager
def degraded(folder: Path, seconds: float = 0.0, pace: float = 0.02) -> Iterator[Digits]:
    """A worker and a server were killed, and the bound on staleness is too tight for four workers."""
    bound = {"staleness": {"max": 2, "policy": "Refuse"}}
    with Digits(folder, pace=pace, exchange=bound) as run:
        run.until_updates(20)
        time.sleep(seconds / 3)
        run.signal("worker-1", signal.SIGKILL)
        time.sleep(seconds / 3)
        run.signal("server-1", signal.SIGKILL)
        time.sleep(seconds / 3)
        run.until_status("pushes are refused", lambda status: status.refused.get("stale", 0) > 20)
        run.until_status("both are back", lambda status: sum(status.restarts.values()) == 2)
        yield run


@contextmanager
def hung(folder: Path, seconds: float = 0.0, pace: float = 0.02) -> Iterator[Digits]:
    """Worker 1 has not come back from the step that it began after `seconds`."""
    workers = {"replicas": 4, "progressDeadlineSeconds": 30}
    with Digits(folder, pace=pace, args={"hang": 10 + int(seconds / (4 * pace))}, workers=workers) as run:
        run.until_status("it is named", lambda status: any(w.state == "stalled" for w in status.workers))
        yield run


@contextmanager
def diverged(folder: Path, epochs: float = 2.0, pace: float = 0.0) -> Iterator[Digits]:
    """The learning rate rises until the loss does, after about so many epochs. It is over."""
    rate = {"learningRate": 1000, "schedule": {"warmup": 1000 * epochs}}
    with Digits(folder, pace=pace, optimizer=rate, divergence={"factor": 5}) as run:
        assert run.wait() == 78, run.words()
        yield run


@contextmanager
def rounds(folder: Path, seconds: float = 0.0, pace: float = 0.02) -> Iterator[Digits]:
    """Synchronous rounds, in which worker 2 takes four times as long as the others."""
    with Digits(folder, pace=pace, algorithm={"name": "sync"}, args={"slow": 2}) as run:
        run.until_status("they wait for it", lambda status: any(w.waits == "others" for w in status.workers))
        time.sleep(seconds)
        yield run
