"""`asgd` commands for tests of real processes, forked from one process that has imported torch.

A command that is started anew imports torch in a process of its own, for two seconds of CPU; a test file does so many
times to prove something else. Here the imports are done once for each process of pytest. All else is as if the command
had been started: a session, standard streams, an environment and an exit status of its own, and fork servers, servers,
workers and an evaluator that are processes. What is about imports, memory or the start itself starts anew: `cold`.

The end of pytest is the end of the warm process, not of what it has forked.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import util
from pathlib import Path
from typing import IO, NoReturn

from asgd.host import forking, forkserver
from asgd.host.title import set_title

ROOT = Path(__file__).parents[1]
ASGD = str(Path(sys.executable).with_name("asgd"))
IMPORTED = (
    "torch", "asgd.cli", "asgd.session", "asgd.worker.preload", "asgd.server.process", "asgd.worker.process",
    "asgd.worker.evaluator", "fsspec.implementations.local", "asgd.drivers.local.run", "asgd.drivers.display",
    "asgd.commands.simulate", "asgd.commands.replay", "asgd.worker.task.check",
)  # fmt: skip
MARK = "TESTS_MARK_OF_A_RUN"
"""A variable with room for a path: `/proc/PID/environ` of a fork shows what its ancestor was started with."""
ROOM = 400
PATIENCE_SECONDS = 220.0
MOST_DESCRIPTORS = 1 << 12
usable = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
"""Whether commands are forked; the fixture `cold` takes it back."""
_ENV_START, _ENV_END = 49, 50
"""Places of env_start and env_end in /proc/self/stat, counted from 0; see proc(5)."""


class Warm:
    """A command that was forked. Used like a `subprocess.Popen`."""

    def __init__(self, pid: int, told: int, args: list[str]) -> None:
        self.pid, self.args = pid, args
        self.returncode: int | None = None
        self._told = told
        """Its exit status comes here, from the process that has forked it."""

    def poll(self) -> int | None:
        """Its exit status once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            status = os.read(self._told, 16)
            os.close(self._told)
            self.returncode = int(status or b"-9")
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


AnyProcess = subprocess.Popen[bytes] | Warm


def start(
    words: Sequence[str], out: IO[bytes], err: IO[bytes], *, cwd: Path | None = None,
    env: Mapping[str, str] | None = None, mark: Path | None = None,
) -> AnyProcess:  # fmt: skip
    """Starts `asgd WORDS`, without an input. `mark`: what `/proc/PID/environ` of all its processes shall hold."""
    env = {**(os.environ if env is None else env)}
    place = str(cwd or Path.cwd())
    if not _can_be_forked(env, mark):
        return subprocess.Popen(
            [ASGD, *words], cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
    return _server().fork([*words], place, env, "" if mark is None else str(mark), out, err)


def run(
    words: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 200.0
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """`asgd WORDS` to its end, with what it has printed. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(words, out, err, cwd=cwd, env=env)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess([ASGD, *words], code, *texts)


# -- this end --------------------------------------------------------------------------------------------------------


class _Server:
    """The process that has imported torch, as this process sees it."""

    def __init__(self) -> None:
        control, theirs = socket.socketpair()
        self._channel, requests = socket.socketpair()
        self._environment = _environment()
        descriptors = [theirs.fileno(), requests.fileno()]
        command = [sys.executable, "-m", "asgd.host.forkserver", str(descriptors[0]), *IMPORTED, "tests.warm"]
        with theirs, requests:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=descriptors, start_new_session=True,
            )  # fmt: skip
        self._server = forking.ForkServer(process, control)
        self._server.ask({"call": "tests.warm:serve", "args": [descriptors[1]]})
        assert self._server.answer(PATIENCE_SECONDS) == {"threads": 1}
        atexit.register(self.close)

    def fork(
        self, words: list[str], cwd: str, env: dict[str, str], mark: str, out: IO[bytes], err: IO[bytes]
    ) -> Warm:
        told, tells = os.pipe()
        request = json.dumps({"words": words, "cwd": cwd, "env": env, "mark": mark}).encode()
        with _LOCK:
            socket.send_fds(self._channel, [len(request).to_bytes(4)], [out.fileno(), err.fileno(), tells])
            self._channel.sendall(request)
            os.close(tells)
            pid = int.from_bytes(self._channel.recv(4))
        assert pid, "the process that forks commands for tests has ended"
        return Warm(pid, told, [ASGD, *words])

    def close(self) -> None:
        self._channel.close()
        self._server.process.wait(20)


_LOCK = threading.Lock()
_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers:
        _servers.append(_Server())
    return _servers[0]


_AT_FIRST = dict(os.environ)
"""Before any test has changed it: what one test sets is not to be another one's."""


def _environment() -> dict[str, str]:
    """Of the warm process: what tests' processes have in common."""
    ours = {name: value for name, value in _AT_FIRST.items() if not _of_one_process(name)}
    return {**ours, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", MARK: "-" * ROOM}


def _of_one_process(name: str) -> bool:
    """Whether no import may look at a variable: ours, pytest's, and those that come and go."""
    return name.startswith(("ASGD_", "PYTEST_", "HYPOTHESIS_")) or name in (
        "PYTHONHASHSEED",
        "PYTHONUNBUFFERED",
        MARK,
    )


def _can_be_forked(env: Mapping[str, str], mark: Path | None) -> bool:
    """Whether a command with `env` may begin with imports that were done in the environment of now."""
    if not usable or env.get("PYTHONHASHSEED", "0") != "0" or len(os.fsencode(str(mark))) > ROOM:
        return False
    base = _servers[0]._environment if _servers else _environment()
    names = {name for name in {*env, *base} if not _of_one_process(name)}
    return all(env.get(name) == base.get(name) for name in names)


# -- the warm process ------------------------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Forks a command for each request and tells its exit status when it ends."""
    channel = socket.socket(fileno=descriptor)
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([channel, *running], [], [])[0]:
            if ready is not channel:
                _tell(ready, *running.pop(ready))
            elif not _fork_one(channel, running):
                os._exit(0)


def _fork_one(channel: socket.socket, running: dict[int, tuple[int, int]]) -> bool:
    """Obeys one request; False at the end."""
    head, descriptors, _, _ = socket.recv_fds(channel, 4, 3)
    if not head:
        return False
    length, text = int.from_bytes(head), b""
    while len(text) < length:
        text += channel.recv(length - len(text))
    out, err, tells = descriptors
    pid = os.fork()
    if not pid:
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.closerange(3, MOST_DESCRIPTORS)
            _become(**json.loads(text))
        finally:
            os._exit(1)
    for descriptor in (out, err):
        os.close(descriptor)
    running[os.pidfd_open(pid)] = pid, tells
    channel.sendall(pid.to_bytes(4))
    return True


def _tell(descriptor: int, pid: int, tells: int) -> None:
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(tells, str(code).encode())
    os.close(tells)


def _become(words: list[str], cwd: str, env: dict[str, str], mark: str) -> NoReturn:
    """In the fork: becomes the command `asgd WORDS`."""
    os.setsid()
    os.chdir(cwd)
    _write_mark(mark)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = str(Path(ASGD).parent)
    sys.argv = [ASGD, *words]
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()
    _buffer(True)
    forking.ForkServer.start = classmethod(_start_fork_server)  # type: ignore[assignment,method-assign]
    set_title("asgd")
    forkserver._end(forkserver._run("asgd.cli:main"))


def _start_fork_server(
    kind: type[forking.ForkServer], modules: Sequence[str], env: Mapping[str, str], log: Path
) -> forking.ForkServer:
    """`ForkServer.start` in a command that was forked: its fork servers are forks of it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return kind(forking.Forked(pid), ours)
    try:
        _become_fork_server(theirs.detach(), modules, env, log)
    finally:
        os._exit(1)


def _become_fork_server(channel: int, modules: Sequence[str], env: Mapping[str, str], log: Path) -> NoReturn:
    # NB: what the launcher does at its exit is not its fork servers'; that loader processes are ended is everybody's.
    atexit._clear()
    atexit.register(util._exit_function)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.setsid()
    nothing, file = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
    )
    for descriptor, place in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, place)
    os.closerange(3, channel)
    os.closerange(channel + 1, MOST_DESCRIPTORS)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = str(Path.cwd())
    _buffer(False)
    sys.argv = [str(forkserver.__file__), str(channel), *modules]
    forkserver.main()


def _buffer(whether: bool) -> None:
    """Commands keep what they print until they flush it, and fork servers don't."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=not whether)  # type: ignore[union-attr]


def _write_mark(text: str) -> None:
    """Puts `text` where /proc/self/environ shows `MARK`."""
    fields = ["", "", *Path("/proc/self/stat").read_text().rpartition(")")[2].split()]
    start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
    place = ctypes.string_at(start, end - start).index(f"\0{MARK}=".encode()) + len(MARK) + 2
    ctypes.memmove(start + place, text.encode().ljust(ROOM, b"-"), ROOM)
