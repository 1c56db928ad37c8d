"""Starts a job's loggers, watches them and ends them: for the launcher on a laptop, for the evaluator on a cluster.

A logger is never waited for while the job trains, and never started again: what ails one is said, and no more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asgd.host.forking import kill_group
from asgd.host.ranks import without_ranks
from asgd.loggers.kept import Kept
from asgd.loggers.kinds import kind_of
from asgd.spec.environment import Env
from asgd.spec.types import Logger

FINISH_SECONDS = 60.0
"""So long loggers may write after the training; importing a library alone may take ten."""

QUIET_SECONDS = 2.0
"""Of that time without a word."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Of one run."""

    history: Path
    """What is followed."""
    folder: Path
    """Where loggers leave files by default."""
    logs: Path
    keeps: Path
    """Folder for what they keep over restarts."""


@dataclass(slots=True)
class _Running:
    kind: str
    process: subprocess.Popen[bytes]
    log: Path
    keeps: Path
    trouble: str = ""
    ended: bool = field(default=False)


class Loggers:
    """The processes of `loggers`; `note` says a line to the person. `job`: the checked job's file."""

    def __init__(
        self, loggers: Sequence[Logger], job: Path, paths: Paths, note: Callable[[str], None]
    ) -> None:
        self._loggers, self._job, self._paths, self._note = loggers, job, paths, note
        self._running: list[_Running] = []

    def start(
        self, name: str, env: Mapping[str, str], identity: str = "", skip: frozenset[int] = frozenset()
    ) -> None:
        """Starts all but those numbered in `skip`, for the run `name`; `identity`: its own, else what they keep."""
        for number, logger in enumerate(self._loggers):
            if number in skip:
                continue
            kind = kind_of(logger)
            log = self._paths.logs / f"logger-{number}.log"
            keeps = self._paths.keeps / f"{number}-{kind}.json"
            words = [
                str(number),
                str(self._paths.history),
                str(keeps),
                str(self._paths.folder),
                name,
                identity,
            ]
            own = {Env.JOB: str(self._job), "PYTHONUNBUFFERED": "1"}
            with log.open("ab") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "asgd.loggers.process", *words],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=out,
                    env={**without_ranks(os.environ), **env, **own},
                    start_new_session=True,
                )
            self._running.append(_Running(kind, process, log, keeps))

    def look(self) -> None:
        """Says once what is wrong with whom, and when it is over."""
        for logger in self._running:
            self._say_trouble(logger)
            code = logger.process.poll()
            if code is not None and not logger.ended:
                logger.ended = True
                self._note(
                    f"warning: the logger {logger.kind} has ended with {code}, training goes on without it"
                    f" ({logger.log})"
                )

    def _say_trouble(self, logger: _Running) -> None:
        if not logger.keeps.exists():
            return
        trouble = Kept.load(logger.keeps).trouble
        if trouble and not logger.trouble:
            self._note(
                f"warning: the logger {logger.kind} can't write now, and tries again: {trouble} ({logger.log})"
            )
        elif logger.trouble and not trouble:
            self._note(f"the logger {logger.kind} has written what it was behind")
        logger.trouble = trouble

    def finish(self, patience_seconds: float = FINISH_SECONDS) -> None:
        """The history is whole: loggers write what they lack. Who is not done in time, or can't, is named."""
        for logger in self._running:
            _end_input(logger.process)
        deadline = time.monotonic() + patience_seconds
        for logger in self._running:
            if logger.ended:
                continue
            logger.ended = True
            self._say_wait(logger, patience_seconds)
            try:
                done = logger.process.wait(max(0.0, deadline - time.monotonic())) == 0
                why = Kept.load(logger.keeps).trouble
            except subprocess.TimeoutExpired:
                done, why = False, f"it was not done after {patience_seconds:.0f} s"
            if not done:
                self._note(
                    f"warning: the logger {logger.kind} has not written all: {why or 'it failed'} ({logger.log})"
                )
        self.kill()

    def _say_wait(self, logger: _Running, patience_seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            logger.process.wait(min(QUIET_SECONDS, patience_seconds))
            return
        self._note(f"the logger {logger.kind} writes what it is behind, for {patience_seconds:.0f} s at most")

    def kill(self) -> None:
        """Ends them at once, with what they have started themselves."""
        for logger in self._running:
            _end_input(logger.process)
            if logger.process.poll() is None:
                logger.process.kill()
                kill_group(logger.process.pid)
                logger.process.wait()
        self._running = []


def _end_input(process: subprocess.Popen[bytes]) -> None:
    """NB: a signal would be lost on a process that does not listen for it yet, and the end of its input is none while a
    process that was forked from this one holds it open."""
    assert process.stdin is not None
    if not process.stdin.closed:
        with suppress(OSError):
            process.stdin.write(b".")
            process.stdin.flush()
        with suppress(OSError):
            process.stdin.close()
