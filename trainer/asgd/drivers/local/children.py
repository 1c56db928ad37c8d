"""The processes of a run on this machine: started in sessions of their own, watched, restarted within their budgets.

Ctrl-C reaches only the parent, which then stops the job in order. Each child writes to logs/ROLE-INDEX.log.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asgd.drivers.local.standby import Standby
from asgd.drivers.output import Output

_COMMANDS = {"server": "server", "worker": "worker", "evaluator": "evaluate"}


@dataclass(slots=True)
class Child:
    """One process and its history."""

    role: str
    index: int
    env: dict[str, str]
    process: subprocess.Popen[bytes]
    restarts: int = 0
    ended: int | None = None
    """Exit status once it will not be started again."""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


class Children:
    """Starts and watches the processes of the run in `output`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.all: dict[str, Child] = {}
        self._standby: Standby | None = None
        self._written = ""

    def start(self, role: str, index: int, env: dict[str, str]) -> Child:
        """Starts a process of `role`; `env` is what `asgd.host.env` reads, on top of this process's environment."""
        child = Child(role, index, env, self._spawn(role, index, env))
        self.all[child.name] = child
        return child

    def restart(self, child: Child) -> None:
        """Starts a child again in its place; a server by the one that stands by, if there is one."""
        child.restarts += 1
        child.process = self._take_standby(child) or self._spawn(child.role, child.index, child.env)
        child.started = time.monotonic()

    def stand_by(self) -> None:
        """Keeps a server ready to take the place of one that dies, as soon as all serve."""
        servers = [child for child in self.all.values() if child.role == "server"]
        if self._standby is None and servers and all(self.announced(child) for child in servers):
            env = servers[0].env | {"ASGD_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
            self._standby = Standby(env, self._output.file("logs/standby.log"))

    def _take_standby(self, child: Child) -> subprocess.Popen[bytes] | None:
        standby = self._standby if child.role == "server" else None
        if standby is None:
            return None
        self._standby = None
        own = self._own(child.role, child.index)
        if standby.become(own | child.env, self.log(child.role, child.index)):
            return standby.process
        standby.end()
        return None

    def _own(self, role: str, index: int) -> dict[str, str]:
        """What a process's own part adds to the environment."""
        announce = self._output.file(f"logs/{role}-{index}.json")
        announce.unlink(missing_ok=True)
        return {
            "ASGD_INDEX": str(index),
            "ASGD_ANNOUNCE": str(announce.absolute()),
            "ASGD_PARENT": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }

    def _spawn(self, role: str, index: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
        own = self._own(role, index)
        with self.log(role, index).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "asgd.cli", _COMMANDS[role]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"OMP_NUM_THREADS": "1", **os.environ, **own, **env},
                start_new_session=True,
            )

    def log(self, role: str, index: int) -> Path:
        return self._output.file(f"logs/{role}-{index}.log")

    def last_words(self, child: Child) -> str:
        """The last line of a child's log."""
        lines = self.log(child.role, child.index).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")

    def ended(self) -> list[tuple[Child, int]]:
        """Children whose process has ended since the last call, with its exit status (-N: killed by signal N)."""
        found = []
        for child in self.all.values():
            status = child.process.poll()
            if status is not None and child.ended is None:
                found.append((child, status))
        return found

    @contextmanager
    def deaths(self) -> Iterator[list[int]]:
        """Descriptors that can be read as soon as one of the processes that run now has ended (Linux)."""
        found: list[int] = []
        try:
            for child in self.all.values():
                if child.process.poll() is None and hasattr(os, "pidfd_open"):
                    found.append(os.pidfd_open(child.process.pid))
            yield found
        finally:
            for descriptor in found:
                os.close(descriptor)

    def wait(self, seconds: float) -> None:
        """Waits, but no longer than until a process ends."""
        with self.deaths() as deaths:
            poll = select.poll()
            for descriptor in deaths:
                poll.register(descriptor, select.POLLIN)
            poll.poll(seconds * 1000)

    def announced(self, child: Child) -> dict[str, Any] | None:
        """What a child has said about itself: pid and metrics address; None before that."""
        return _announcement(self._output.file(f"logs/{child.name}.json"))

    def publish(self) -> None:
        """Keeps processes.json current: role, index, pid, metrics address of every process that runs."""
        if not self.all:
            return
        rows = []
        for child in self.all.values():
            if child.ended is None and child.process.poll() is None:
                told = self.announced(child) or {}
                rows.append(
                    {
                        "role": child.role,
                        "index": child.index,
                        "pid": child.process.pid,
                        "metrics": told.get("metrics", ""),
                        "restarts": child.restarts,
                    }
                )
        rows += self._guests()
        text = json.dumps(rows, indent=1)
        if text != self._written:
            self._written = text
            target = self._output.file("processes.json")
            partial = target.with_suffix(".partial")
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(target)

    def _guests(self) -> list[dict[str, Any]]:
        """Workers that joined by hand and are alive."""
        found = []
        for path in sorted(self._output.file("logs").glob("worker-*.json")):
            told = None if path.stem in self.all else _announcement(path)
            if told and _alive(told["pid"]):
                found.append({**told, "restarts": 0})
        return found

    def end(self, roles: tuple[str, ...], patience_seconds: float) -> None:
        """SIGTERM to all of `roles`, SIGKILL to what is left when patience ends."""
        running = [c for c in self.all.values() if c.role in roles and c.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience_seconds
        for child in running:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()

    def kill_one(self, child: Child) -> None:
        """Ends a process at once, with what it has started itself."""
        if child.process.poll() is None:
            os.killpg(child.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Ends everything at once, what children have started themselves (data loaders) included."""
        running = [child.process for child in self.all.values() if child.process.poll() is None]
        if self._standby:
            self._standby.end()
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
        for process in running:
            process.wait()


def _announcement(path: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
