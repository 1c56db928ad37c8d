"""Starts a cluster's processes and finds them again, also after a crash half way.

Every process carries the cluster's state directory in its environment (OWNER_ENV). `kill_all` looks for that
mark in /proc instead of trusting pid files: a pid may be reused, a file may be missing, an environment stays.
Nothing is ended gently: the state of a test cluster is thrown away with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.layout import OWNER_ENV
from tests.cluster.shell import wait_until


@dataclass
class Processes:
    """The processes of one cluster; `tied` ones die with the process that started them."""

    state: Path
    tied: bool = False
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str | Path) -> int:
        """Start `command` in the background, its output in `<state>/<name>.log`; returns its pid."""
        tie: tuple[str, ...] = ("setpriv", "--pdeathsig", "KILL", "--") if self.tied else ()
        with (self.state / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [*tie, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.state,
                env={**os.environ, OWNER_ENV: str(self.state)},
                start_new_session=True,
            )
        return self.started[name].pid

    def dead(self) -> list[str]:
        """One sentence for each started process that has ended, with the end of its log."""
        return [
            f"{name} ended with {process.returncode}, its log ends: {self._tail(name)}"
            for name, process in self.started.items()
            if process.poll() is not None
        ]

    def stop(self) -> None:
        """End every process of this cluster, also those that an earlier command started."""
        kill_all(self.state)
        for process in self.started.values():
            process.wait()
        self.started.clear()

    def _tail(self, name: str) -> str:
        return (self.state / f"{name}.log").read_text(errors="replace")[-600:].strip()


def owned_by(state: Path) -> Iterator[int]:
    """Pids of the living processes that carry the mark of the cluster in `state`."""
    mark = f"{OWNER_ENV}={state}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
        except OSError:  # gone meanwhile, or another user's
            continue


def kill_all(state: Path) -> None:
    """SIGKILL every process of the cluster in `state`, and return when none is left."""

    def none_left() -> bool:
        left = list(owned_by(state))
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not left

    wait_until("the end of the cluster's processes", none_left, 30)
