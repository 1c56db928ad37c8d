"""Worker and evaluator processes without the two seconds of `import torch` each: forked from one that has done it.

The same fork server as that of `asgd run`; besides torch it imports the benchmark's examples, and can read their data
once for all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from asgd.drivers.local.starter import ALL_ALIKE, WORKER
from asgd.host.forking import ForkServer, Gone, Process, Refused, can_fork
from asgd.host.forkserver import Part
from asgd.spec.environment import HASH_SEED, Env
from asgd_bench.system import Failed

IMPORT_SECONDS = 120.0
WARM_SECONDS = 60.0


class Forks:
    """Starts the fork server. What it has forked ends with this process."""

    def __init__(self) -> None:
        if not can_fork():
            raise Failed("worker processes can't be forked here; Linux is needed")
        self._folder = tempfile.TemporaryDirectory(prefix="asgd-bench-")
        log = Path(self._folder.name) / "forkserver.log"
        env = {**ALL_ALIKE, **os.environ, **HASH_SEED, Env.PARENT: str(os.getpid())}
        self._server = ForkServer.start([*WORKER, "asgd_bench.tasks"], env, log)
        self._answer(IMPORT_SECONDS)

    def warm(self, example: str) -> None:
        """Has the example's data read before anything is timed."""
        self._server.ask({"call": "asgd_bench.tasks:warm", "args": [example]})
        self._answer(WARM_SECONDS)

    def fork(
        self, commands: Sequence[str], envs: Sequence[Mapping[str, str]], logs: Sequence[Path]
    ) -> list[Process]:
        """Starts `asgd worker` or `asgd evaluate`, each with its environment and log. Raises Failed."""
        parts = [
            Part(
                "asgd.cli:main", [command], {**env, Env.PARENT: str(os.getpid())}, str(log), f"asgd {command}"
            )
            for command, env, log in zip(commands, envs, logs, strict=True)
        ]
        try:
            return [*self._server.fork(parts)]
        except (Gone, Refused) as error:
            raise Failed(f"worker processes could not be started: {error}") from error

    def _answer(self, seconds: float) -> None:
        try:
            if self._server.answer(seconds) is None:
                raise Failed(f"the fork server of workers did not answer within {seconds:.0f} s")
        except (Gone, Refused) as error:
            raise Failed(f"worker processes could not be started (is torch installed?): {error}") from error

    def close(self) -> None:
        """Ends the fork server."""
        self._server.close()
        self._folder.cleanup()
