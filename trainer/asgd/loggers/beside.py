"""On a cluster loggers run beside the evaluator: the one process a job that is in the user's image and trains nothing.

It asks shard 0 for its status once a second, as `asgd run` does, and writes the same history, which loggers follow.
Under `asgd run` the launcher does so, and takes `spec.logging` out of what the evaluator is told.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from asgd import exitcodes
from asgd.errors import ProtocolError
from asgd.host.env import ProcessConfig
from asgd.host.say import say
from asgd.loggers.kinds import missing
from asgd.loggers.starting import Loggers, Paths
from asgd.report.history import HistoryWriter
from asgd.spec.environment import Env
from asgd.spec.status import Status
from asgd.wire.ask import Asker, ask_status

ASK_SECONDS = 1.0
SOON_SECONDS = 0.1
"""Between two questions once the job is stopping: its servers may be gone soon after its end."""
GONE_SECONDS = 10.0
"""Servers of a job that is stopping have ended when they are silent for so long."""
LAST_SECONDS = 5.0
"""So long the status of the end is waited for."""
FINISH_SECONDS = 20.0
"""Less than a pod is given to end."""


class Beside:
    """The history of the job and its loggers, in a thread and in processes of their own."""

    def __init__(self, config: ProcessConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        paths = Paths(folder / "history.jsonl", folder, folder, folder / "loggers")
        self._loggers = Loggers(config.job.spec.logging, Path(os.environ[Env.JOB]), paths, say)
        self._over = threading.Event()
        self.finished = False
        self.lost = False
        """No server answers any more."""
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    @classmethod
    def begin(cls, config: ProcessConfig) -> Self | None:
        """Starts the loggers that the job asks for, if it does; those whose library is not there are named."""
        if not config.job.spec.logging:
            return None
        lacking = missing(config.job.spec.logging)
        for said in lacking.values():
            say(said)
        beside = cls(config, Path(tempfile.mkdtemp(prefix="asgd-loggers-")))
        say(f"loggers leave what has no place of its own in {beside._folder}, which ends with this pod")
        beside._loggers.start(config.job.name, {}, identity_of(config), frozenset(lacking))
        beside._thread.start()
        return beside

    def alone(self, leaving: Callable[[], bool]) -> int:
        """For a job without an evaluation: until it is over, or this process is told to leave; its exit code."""
        while self._thread.is_alive() and not leaving():
            time.sleep(ASK_SECONDS / 4)
        self.close()
        if self.lost:
            return exitcodes.TRY_AGAIN
        return exitcodes.DONE if self.finished else exitcodes.DRAINED

    def _run(self) -> None:
        asker, heard, stopping = Asker(self._config.servers[0], self._config.keys), time.monotonic(), False
        try:
            with HistoryWriter(self._folder / "history.jsonl") as history:
                while not (
                    self.finished or self.lost or self._over.wait(SOON_SECONDS if stopping else ASK_SECONDS)
                ):
                    if status := _status(asker):
                        history.record(status)
                        heard, stopping = time.monotonic(), bool(status.stop_reason)
                        self.finished = status.phase == "finished"
                    silent = time.monotonic() - heard
                    self.finished |= stopping and silent > GONE_SECONDS
                    self.lost = silent > self._config.join_timeout_seconds
                    self._loggers.look()
        finally:
            asker.close()

    def close(self) -> None:
        """After the last evaluation was told, or earlier: the loggers write what is there and end."""
        self._thread.join(LAST_SECONDS)
        self._over.set()
        self._thread.join(LAST_SECONDS)
        self._loggers.finish(FINISH_SECONDS)


def identity_of(config: ProcessConfig) -> str:
    """The same for every evaluator of a job, another one for a job that has taken its name: its keys are its own."""
    own = config.keys.server_public if config.keys else ""
    return hashlib.sha256(f"{own} {config.job.namespace}/{config.job.name}".encode()).hexdigest()[:12]


def _status(asker: Asker) -> Status | None:
    """NB: what cannot be read counts as silence; it must not end the history's thread."""
    try:
        return ask_status(asker, ASK_SECONDS)
    except ProtocolError:
        return None
