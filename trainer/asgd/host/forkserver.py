"""A fork server: one process that has slow imports behind it and forks whoever needs them.

    python -m asgd.host.forkserver DESCRIPTOR MODULE...

It imports the modules, then obeys requests that come as lines of JSON over the socket DESCRIPTOR (`forking.py` is the
other end). A forked process is no child of this one: it is forked twice, and whoever asked is its parent, waits for
it and learns its exit status. So the end of the fork server ends nobody. A forked process waits for a byte on the
pipe that came with the request; without one it ends, for nobody knows of it.

| request | answer |
|---|---|
| none: the imports are done | {"result": {"threads": how many run that a fork would lose, this one included}} |
| {"call": "module:function", "args": [...]} | {"result": ...} |
| {"fork": [part, ...]} and the pipe | {"result": [pid, ...]} |
| {"branch": part}, the pipe and a socket | {"result": [pid]}: a fork server of its own, with what is imported by now |

A part is {"main": "module:function", "argv": [...], "env": {...}, "log": PATH, "title": NAME}. What fails is answered
{"error": SENTENCE, "exit_code": CODE}.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from asgd import exitcodes
from asgd.errors import AsgdError
from asgd.host.orphans import end_with_parent
from asgd.host.title import set_title

_MOST_DESCRIPTORS = 2


@dataclass(frozen=True, slots=True)
class Part:
    """What a forked process is to be. `main`: module:function without arguments, its result is the exit status."""

    main: str
    argv: list[str]
    env: dict[str, str]
    """Set on top of the fork server's own environment."""
    log: str
    title: str


def serve(channel: socket.socket) -> tuple[Part, socket.socket | None] | None:
    """Obeys until the other end closes (None), or until this is a forked process: its part, its socket if a branch."""
    for request, descriptors in _requests(channel):
        if "call" in request:
            _answer(channel, _call(request["call"], request["args"]))
            continue
        branch = "branch" in request
        parts = [Part(**part) for part in ([request["branch"]] if branch else request["fork"])]
        try:
            answer, mine = _fork(parts)
        except OSError as error:
            answer, mine = {"error": f"fork: {error.strerror}", "exit_code": exitcodes.TRY_AGAIN}, None
        if mine is not None:
            channel.close()
            _become(mine, descriptors[0])
            return mine, socket.socket(fileno=descriptors[1]) if branch else None
        for descriptor in descriptors:
            os.close(descriptor)
        _answer(channel, answer)
    return None


def _requests(channel: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Requests with the descriptors that came along."""
    held, descriptors = b"", list[int]()
    while True:
        data, more, _, _ = socket.recv_fds(channel, 1 << 16, _MOST_DESCRIPTORS)
        if not data:
            return
        held, descriptors = held + data, descriptors + more
        if held.endswith(b"\n"):  # who asks waits for the answer: there is one request at a time
            yield json.loads(held), descriptors
            held, descriptors = b"", []


def _answer(channel: socket.socket, answer: dict[str, Any]) -> None:
    channel.sendall(json.dumps(answer).encode() + b"\n")


def _call(target: str, args: Sequence[Any]) -> dict[str, Any]:
    """Calls `target`; what it raises becomes the answer, for it is the user's code more often than ours."""
    try:
        return {"result": _find(target)(*args)}
    except AsgdError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "exit_code": 1}


def _find(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _fork(parts: Sequence[Part]) -> tuple[dict[str, Any], Part | None]:
    """Forks one process for each part: the pids here, in a forked process its part."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    middle = os.fork()
    if middle:
        os.close(writer)
        with os.fdopen(reader) as told:
            pids = [int(line) for line in told]
        # NB: when this process answers, its forks have their new parent: the middle one is gone.
        os.waitpid(middle, 0)
        if len(pids) < len(parts):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return {"result": pids}, None
    try:
        for part in parts:
            pid = os.fork()
            if not pid:
                os.close(reader)
                os.close(writer)
                return {}, part
            os.write(writer, f"{pid}\n".encode())
    except OSError:
        os._exit(1)
    os._exit(0)


def _become(part: Part, go: int) -> None:
    """In a forked process: waits until it may go, then makes it like one that was started for `part`."""
    if not os.read(go, 1):
        os._exit(0)
    os.close(go)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(part.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(log)
    os.environ.update(part.env)
    module = importlib.import_module(part.main.partition(":")[0])
    sys.argv = [str(module.__file__), *part.argv]
    if numpy := sys.modules.get("numpy.random"):
        # As in a new process: unseeded numbers are its own (`random` does so by itself, torch's are always the same).
        numpy.seed()
    set_title(part.title)
    end_with_parent()


def lasting_threads() -> int:
    """Threads of this process that a fork would lose, and its own. Some libraries end theirs before a fork."""
    if _threads() > 1:
        trial = os.fork()
        if not trial:
            os._exit(0)
        os.waitpid(trial, 0)
    return _threads()


def _threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def _prepare(modules: Sequence[str]) -> dict[str, Any]:
    """Imports; without a collector that walks through a growing heap it takes 15 % less time."""
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "exit_code": 1}
    finally:
        gc.enable()
    settle()
    return {"result": {"threads": lasting_threads()}}


def settle() -> None:
    """What is imported is here to stay: the collector no longer writes to its pages, which forks share."""
    gc.freeze()


def _run(main: str) -> int:
    """Calls `main` as the interpreter would run a program: its exit status."""
    try:
        return int(_find(main)())
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1


def _end(code: int) -> NoReturn:
    """Ends a forked process: threads, exit handlers and buffers as ever; its modules aren't taken apart."""
    threading._shutdown()  # type: ignore[attr-defined]  # multiprocessing ends its forks by the same two
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def main() -> NoReturn:
    """Serves; in a forked process runs its part."""
    end_with_parent()
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    set_title("asgd forkserver")
    _answer(channel, _prepare(sys.argv[2:]))
    while True:
        found = serve(channel)
        if found is None:
            # NB: exit handlers of users' modules belong to the processes that were forked.
            os._exit(0)
        part, branch = found
        if branch is None:
            _end(_run(part.main))
        channel = branch
        channel.set_inheritable(False)


if __name__ == "__main__":
    main()
