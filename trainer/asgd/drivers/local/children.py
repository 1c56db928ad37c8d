"""The processes of a run on this machine: started in sessions of their own, watched, restarted within their budgets.

Ctrl-C reaches only the parent, which then stops the job in order. Each child writes to logs/ROLE-INDEX.log.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asgd.drivers.local.starter import Order, Starter
from asgd.drivers.output import Output
from asgd.host.forking import Process, kill_group, reap
from asgd.spec.environment import Env

_OF_A_STACK = ('File "', "Thread 0x", "Current thread ", "Extension modules: ")
"""How lines begin that `faulthandler` writes after what has happened."""
SILENT_SECONDS = 2.0
"""Waiting for workers that end is said after so long."""
_COMMANDS = {"server": "server", "worker": "worker", "evaluator": "evaluate"}


@dataclass(slots=True)
class Child:
    """One process and its history."""

    role: str
    index: int
    env: dict[str, str]
    process: Process
    restarts: int = 0
    ended: int | None = None
    """Exit status once it will not be started again."""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


class Children:
    """Starts and watches the processes of the run in `output`, by `starter`."""

    def __init__(self, output: Output, starter: Starter) -> None:
        self._output, self._starter = output, starter
        self.all: dict[str, Child] = {}
        self._groups: set[int] = set()
        """Processes that have ended, whose own children may still be there."""
        self._written = ""
        self.trouble = ""
        """Why processes.json is not current, or nothing."""

    def restarts(self, told: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
        """{role: restarts of the job}: shard 0 has `told` of those that it saw, and began with those `before` this run.

        NB: who dies before it joins is known here alone, and a server that comes back may have forgotten the last one.
        """
        mine = Counter(dict.fromkeys(told, 0))
        for child in self.all.values():
            mine[child.role] += child.restarts
        counted = {
            role: before.get(role, 0) + max(count, told.get(role, 0) - before.get(role, 0))
            for role, count in mine.items()
        }
        return {role: count for role, count in counted.items() if count or role in told}

    def start(self, envs: Mapping[tuple[str, int], dict[str, str]]) -> None:
        """Starts processes by (role, index); each reads its env by `asgd.host.env`.

        Those of one kind, servers or what runs users' code, are started together.
        """
        for servers in (True, False):
            names = [name for name in envs if (name[0] == "server") is servers]
            processes = self._start([self._order(*name, envs[name]) for name in names], servers=servers)
            for (role, index), process in zip(names, processes, strict=True):
                child = Child(role, index, envs[role, index], process)
                self.all[child.name] = child

    def restart(self, child: Child) -> None:
        """Starts a child again in its place."""
        child.restarts += 1
        order = self._order(child.role, child.index, child.env)
        (child.process,) = self._start([order], servers=child.role == "server")
        child.started = time.monotonic()

    def _start(self, orders: Sequence[Order], *, servers: bool) -> list[Process]:
        return (self._starter.start_servers if servers else self._starter.start_workers)(orders)

    def _order(self, role: str, index: int, env: dict[str, str]) -> Order:
        return Order(
            title=f"asgd {role} {index}",
            main="asgd.cli:main",
            module="asgd.cli",
            argv=[_COMMANDS[role]],
            env=self._own(role, index) | env,
            log=self.log(role, index),
        )

    def _own(self, role: str, index: int) -> dict[str, str]:
        """What a process's own part adds to the environment."""
        announce = self._output.file(f"logs/{role}-{index}.json")
        announce.unlink(missing_ok=True)
        return {
            Env.INDEX: str(index),
            Env.ANNOUNCE: str(announce.absolute()),
        }

    def log(self, role: str, index: int) -> Path:
        return self._output.file(f"logs/{role}-{index}.log")

    def last_words(self, child: Child) -> str:
        """The last line of a child's log that says something: a stack that was written down is passed over."""
        try:
            text = self.log(child.role, child.index).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"none ({error.strerror})"
        lines = map(str.strip, reversed(text.splitlines()))
        return next((line for line in lines if line and not line.startswith(_OF_A_STACK)), "no message")

    def ended(self) -> list[tuple[Child, int]]:
        """Children whose process has ended since the last call, with its exit status (-N: killed by signal N)."""
        found = []
        for child in self.all.values():
            status = child.process.poll()
            if status is not None and child.ended is None:
                found.append((child, status))
                self._groups.add(child.process.pid)
                if status:
                    # What it had started itself, data loaders for one, serves nobody any more.
                    kill_group(child.process.pid)
        self._groups = {group for group in self._groups if reap(group)}
        return found

    @contextmanager
    def deaths(self) -> Iterator[list[int]]:
        """As `deaths`, of all that run now."""
        with deaths([child.process for child in self.all.values()]) as found:
            yield found

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
        rows += [
            {"role": "forkserver", "index": index, "pid": pid, "metrics": "", "restarts": 0}
            for index, pid in self._starter.processes
        ]
        rows += self._guests()
        text = json.dumps(rows, indent=1)
        if text == self._written:
            return
        target = self._output.file("processes.json")
        partial = target.with_suffix(".partial")
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(target)
            self._written, self.trouble = text, ""
        except OSError as error:
            self.trouble = f"{target} cannot be written: {error.strerror}"

    def _guests(self) -> list[dict[str, Any]]:
        """Workers that joined by hand and are alive."""
        found = []
        for path in sorted(self._output.file("logs").glob("worker-*.json")):
            told = None if path.stem in self.all else _announcement(path)
            if told and _alive(told["pid"]):
                found.append({**told, "restarts": 0})
        return found

    def end_servers(self) -> None:
        """SIGTERM to all, SIGKILL to what is left after 30 s."""
        for child in _left(self._terminated(("server",)), 30.0):
            child.process.kill()
            child.process.wait()

    def end_trainers(self, seconds: float, note: Callable[[str], None]) -> None:
        """SIGTERM to workers and evaluator, SIGKILL to what is left after `seconds`; neither without a word."""
        running = self._terminated(("worker", "evaluator"))
        late = _left(running, min(SILENT_SECONDS, seconds))
        if late and seconds > SILENT_SECONDS:
            note(f"the job is over; {_names(late)} may take {seconds:g} s to end (spec.workers.drainSeconds)")
            late = _left(late, seconds - SILENT_SECONDS)
        if late:
            note(
                f"warning: {_names(late)} did not end within {seconds:g} s (spec.workers.drainSeconds) when the job was"
                f" over, so the run stops {'it' if len(late) == 1 else 'them'}; what a script does after its training"
                " loop may need more"
            )
        for child in late:
            child.process.kill()
            child.process.wait()

    def _terminated(self, roles: tuple[str, ...]) -> list[Child]:
        running = [c for c in self.all.values() if c.role in roles and c.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGTERM)
        return running

    def kill_one(self, child: Child) -> None:
        """Ends a process at once, with what it has started itself."""
        if child.process.poll() is None:
            child.process.kill()
            kill_group(child.process.pid)

    def kill(self) -> None:
        """Ends everything at once, what children have started themselves (data loaders) included."""
        running = [child.process for child in self.all.values() if child.process.poll() is None]
        for process in running:
            process.kill()
            kill_group(process.pid)
        for process in running:
            process.wait()


def _left(children: Sequence[Child], seconds: float) -> list[Child]:
    """Those that have not ended within `seconds`."""
    deadline = time.monotonic() + seconds
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
    return [child for child in children if child.process.poll() is None]


def _names(children: Sequence[Child]) -> str:
    return " and ".join(child.name for child in children)


@contextmanager
def deaths(processes: Sequence[Process]) -> Iterator[list[int]]:
    """Descriptors that can be read as soon as one of those of `processes` that run now has ended (Linux)."""
    found: list[int] = []
    try:
        for process in processes:
            if process.poll() is None and hasattr(os, "pidfd_open"):
                found.append(os.pidfd_open(process.pid))
        yield found
    finally:
        for descriptor in found:
            os.close(descriptor)


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
