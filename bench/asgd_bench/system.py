"""One system under test: its launcher process, the talk with it, and its figures taken from outside.

CPU-seconds and memory are read from /proc for the launcher and all that descends from it, so that what a system does in
threads, daemons and servers of its own counts too. Whatever goes wrong is a `Failed` with one sentence.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from asgd_bench import processes
from asgd_bench.results import Sample

START_SECONDS = 180.0
ANSWER_SECONDS = 60.0


class Failed(Exception):
    """A system could not start, answer or prove its updates; the text says why in one line."""


@dataclass(slots=True)
class System:
    """`command` speaks the protocol of `peers/harness.py`. `exact`: its proof must equal its count."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    exact: bool = True
    tolerance: float = 0.0
    """Relative error that the proof may have: weights that come in 16 bits are rounded."""
    memory_bytes: int = 0
    """What it will take, roughly: decides how many systems stay started at once."""
    _process: subprocess.Popen[bytes] | None = None
    _answers: IO[bytes] | None = None
    _log: IO[bytes] | None = None
    _updates: int = 0

    def start(self) -> None:
        """Starts it and waits until all of its processes are there. Raises Failed."""
        reading, writing = os.pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        try:
            self._process = subprocess.Popen(
                [*self.command], stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, pass_fds=[writing],
                start_new_session=True, env=_environment(self.environment, writing),
            )  # fmt: skip
        except OSError as error:
            os.close(reading)
            raise Failed(f"did not start: {error}") from error
        finally:
            os.close(writing)
        self._answers = os.fdopen(reading, "rb", buffering=0)
        self._updates = 0
        self._answer(START_SECONDS)

    def measure(self, seconds: float) -> Sample:
        """One round: lets it work for `seconds`, checks its proof. Raises Failed."""
        assert self._process is not None
        before = processes.cpu_seconds(self._process.pid)
        self._tell({"run": seconds})
        memory = 0.0
        if not self._ready(seconds / 2):
            memory = processes.memory_mib(self._process.pid)
        answer = self._answer(seconds + ANSWER_SECONDS)
        spent = processes.cpu_seconds(self._process.pid) - before
        memory = max(memory, processes.memory_mib(self._process.pid))
        updates = sum(answer["updates"])
        self._updates += updates
        self._prove(answer["probe"])
        if not updates:
            raise Failed(f"made no update in {seconds:g} s")
        return Sample(updates / answer["seconds"], spent / updates, memory)

    def freeze(self) -> None:
        """Takes its processes off the cores until `thaw`; nothing if it does not run."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets its processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            processes.send(processes.family(self._process.pid), number)

    def ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """One answer of a peer that is told more than the seconds of a round. Raises Failed."""
        self._tell(request)
        return self._answer(patience)

    def _tell(self, request: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"ended by itself: {self._last_words()}") from error

    def _prove(self, probe: Sequence[float]) -> None:
        slack = self.tolerance * self._updates
        if any(value > self._updates + slack for value in probe) or (
            self.exact and any(value < self._updates - slack for value in probe)
        ):
            raise Failed(f"applied {[round(value) for value in probe]} of {self._updates} updates")

    def stop(self) -> None:
        """Ends it and all that it started."""
        if self._process is None:
            return
        self.thaw()
        family = processes.family(self._process.pid)
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        processes.send(family, signal.SIGKILL)
        for file in (self._answers, self._log):
            if file:
                file.close()
        self._process = None

    def _ready(self, seconds: float) -> bool:
        assert self._answers is not None
        return bool(select.select([self._answers], [], [], seconds)[0])

    def _answer(self, patience: float) -> dict[str, Any]:
        if not self._ready(patience):
            raise Failed(f"has not answered for {patience:.0f} s: {self._last_words()}")
        assert self._answers is not None
        line = self._answers.readline()
        if not line:
            raise Failed(f"ended by itself: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(max(0, os.fstat(self._log.fileno()).st_size - 4000))
        lines = self._log.read().decode(errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        return said[:160]


def _environment(own: Mapping[str, str], answers: int) -> dict[str, str]:
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "BENCH_ANSWERS": str(answers)}
    return {**os.environ, **quiet, **own}


def script(name: str) -> str:
    """Path of the peer script `name`."""
    return str(Path(__file__).with_name("peers") / f"{name}.py")
