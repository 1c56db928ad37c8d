"""The other end of a fork server: starts it, asks it for processes, and is their parent.

Linux gives a process whose parent has ended to the nearest ancestor that asked for such (`PR_SET_CHILD_SUBREAPER`).
This process asks, so what its fork servers fork twice becomes its own child: it waits for it, learns its exit status
and takes it along when it dies, as with a process that it had started itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self

from asgd.errors import AsgdError, UserError
from asgd.host.forkserver import Part

FORK_SECONDS = 20.0
"""A fork takes milliseconds; a fork server that takes so long for one is stuck."""
_PR_SET_CHILD_SUBREAPER = 36


class Process(Protocol):
    """What `subprocess.Popen` and a forked process have in common."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Gone(AsgdError):
    """The fork server has ended, or is stuck; another way must do."""


class Refused(AsgdError):
    """What the fork server was asked for failed there."""


class Forked:
    """A child of this process that a fork server has forked. Used like a `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status once it has ended, -N if signal N ended it."""
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                if not select.select([descriptor], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            finally:
                os.close(descriptor)
            self._reap(0)
        assert self.returncode is not None
        return self.returncode

    def _reap(self, options: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # somebody else has reaped it
            self.returncode = 1
            return
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)

    def send_signal(self, sig: int) -> None:
        """Sends a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


def can_fork() -> bool:
    """Whether this system has what fork servers need; if so, orphans below this process become its children."""
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return False
    return not ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(group: int) -> bool:
    """Reaps what has ended of the process group `group`; whether children of this process are left in it.

    When a process dies, what it had started itself may become this process's child.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
        return True
    return False


def kill_group(group: int) -> None:
    """Ends what is left of the process group `group`, which may not be there yet, or any more.

    Only if children of this process are in it: a number that is free again may have become somebody else's group.
    """
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.killpg(group, signal.SIGKILL)


class ForkServer:
    """A fork server. One thing is asked of it at a time: `ask`, then `answer`."""

    def __init__(self, process: Process, channel: socket.socket) -> None:
        self.process = process
        self._channel = channel
        self._held = b""

    @classmethod
    def start(cls, modules: Sequence[str], env: Mapping[str, str], log: Path) -> Self:
        """Starts one that imports `modules`; its first answer says that it has."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "asgd.host.forkserver", str(theirs.fileno()), *modules]
        with log.open("ab") as file, theirs:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env),
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        return cls(process, ours)

    def fileno(self) -> int:
        """Readable when there is an answer, or when it has ended."""
        return self._channel.fileno()

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends a request. Raises Gone."""
        try:
            socket.send_fds(self._channel, [b" "], descriptors)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise Gone(f"the fork server {self.process.pid} has ended") from error

    def answer(self, seconds: float = 0.0) -> Any:
        """The result of what was asked, or None when it isn't there within `seconds`.

        Raises Gone, Refused, and UserError when the user's code is to blame.
        """
        while not self._held.endswith(b"\n"):
            if not select.select([self._channel], [], [], seconds)[0]:
                return None
            data = b""
            with contextlib.suppress(OSError):
                data = self._channel.recv(1 << 16)
            if not data:
                raise Gone(f"the fork server {self.process.pid} has ended")
            self._held += data
        told, self._held = json.loads(self._held), b""
        if "error" in told:
            raise (UserError if told["exit_code"] == UserError.exit_code else Refused)(told["error"])
        return told["result"]

    def fork(self, parts: Sequence[Part]) -> list[Forked]:
        """Starts a process for each part. Raises Gone, Refused."""
        return self._fork({"fork": [asdict(part) for part in parts]}, [])

    def branch(self, part: Part) -> ForkServer:
        """A second fork server that begins with what this one has imported. Raises Gone, Refused."""
        ours, theirs = socket.socketpair()
        with theirs:
            (process,) = self._fork({"branch": asdict(part)}, [theirs.fileno()])
        return ForkServer(process, ours)

    def _fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> list[Forked]:
        waits, go = os.pipe()
        # NB: a fork whose pid never came here, because the fork server died, reads the end of the pipe and ends.
        try:
            self.ask(request, [waits, *descriptors])
            os.close(waits)
            waits = -1
            pids = self.answer(FORK_SECONDS)
            if pids is None:
                self.close()
                raise Gone(f"the fork server {self.process.pid} forked nothing for {FORK_SECONDS:.0f} s")
            os.write(go, b"g" * len(pids))
        finally:
            os.close(go)
            if waits >= 0:
                os.close(waits)
        return [Forked(pid) for pid in pids]

    def close(self) -> None:
        """Ends it and what the user's code has started in it, not what it has forked."""
        self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
