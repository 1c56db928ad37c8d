"""A fork is like a process that was started: its parent, its end, its streams, its random numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asgd.host.forking import ForkServer, Gone, Process, Refused, can_fork, reap
from asgd.host.forkserver import Part

PARTS = "tests.unit.host.fork_parts"
SECONDS = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    assert can_fork()
    env = os.environ | {"OMP_NUM_THREADS": "1", "ASGD_PARENT": str(os.getpid()), "PYTHONHASHSEED": "0"}
    made = ForkServer.start(["numpy.random", PARTS], env, tmp_path / "server.log")
    assert made.answer(SECONDS) == {"threads": 1}
    yield made
    made.close()


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., Part]:
    def make(main: str, name: str = "part") -> Part:
        return Part(
            f"{PARTS}:{main}", ["--word"], {"ASGD_PART": name}, str(tmp_path / f"{name}.log"), f"asgd {name}"
        )

    return make


def told(tmp_path: Path, name: str = "part") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / f"{name}.log").read_text().splitlines()[0])
    return found


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fork_is_a_child_of_who_asked_with_streams_session_and_numbers_of_its_own(
    server: ForkServer, part: Callable[..., Part], tmp_path: Path
) -> None:
    forks = server.fork([part("tell", "one"), part("tell", "two")])
    assert [fork.wait(SECONDS) for fork in forks] == [7, 7]
    one, two = told(tmp_path, "one"), told(tmp_path, "two")
    for name, found in (("one", one), ("two", two)):
        assert (found["part"], found["argv"], found["stdin"]) == (name, ["--word"], "")
        assert (found["parent"], found["session"]) == (os.getpid(), True)
        assert not [file for file in found["files"] if "socket" in file or "pipe" in file]
        assert (tmp_path / f"{name}.log").read_text().splitlines()[1] == "the exit handler"
    assert one["hash"] == two["hash"]
    assert one["random"] != two["random"] and one["numpy"] != two["numpy"]


def test_the_end_of_a_fork_is_told_as_that_of_any_process(
    server: ForkServer, part: Callable[..., Part], tmp_path: Path
) -> None:
    left, crashed, killed = server.fork(
        [part("leave", "left"), part("crash", "crashed"), part("sleep", "killed")]
    )
    assert (left.wait(SECONDS), crashed.wait(SECONDS)) == (1, 1)
    assert (tmp_path / "left.log").read_text() == "a last word\n"
    assert (tmp_path / "crashed.log").read_text().endswith("ZeroDivisionError: the third wheel\n")
    assert killed.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0)
    title = Path(f"/proc/{killed.pid}/cmdline")
    deadline = time.monotonic() + SECONDS
    while not title.read_bytes().startswith(b"asgd killed\0"):
        assert time.monotonic() < deadline, title.read_bytes()
        time.sleep(0.01)
    killed.kill()
    assert killed.wait(SECONDS) == -signal.SIGKILL


def test_forks_outlive_their_fork_server_which_then_forks_no_more(
    server: ForkServer, part: Callable[..., Part], tmp_path: Path
) -> None:
    (fork,) = server.fork([part("sleep")])
    server.process.kill()
    server.process.wait()
    with pytest.raises(Gone):
        server.fork([part("sleep", "late")])
    assert fork.poll() is None
    fork.send_signal(signal.SIGTERM)
    assert fork.wait(SECONDS) == -signal.SIGTERM
    assert not (tmp_path / "late.log").exists()


def test_a_branch_begins_with_what_is_imported_and_changes_for_itself(
    server: ForkServer, part: Callable[..., Part], tmp_path: Path
) -> None:
    branch = server.branch(part("tell", "branch"))
    try:
        branch.ask({"call": f"{PARTS}:remember", "args": ["imported"]})
        assert branch.answer(SECONDS) == ["imported"]
        forks: list[Process] = [*branch.fork([part("tell", "mine")]), *server.fork([part("tell", "other")])]
        assert [fork.wait(SECONDS) for fork in forks] == [7, 7]
        assert (told(tmp_path, "mine")["state"], told(tmp_path, "other")["state"]) == (["imported"], [])
        branch.ask({"call": f"{PARTS}:refuse", "args": []})
        with pytest.raises(Refused, match="RuntimeError: not today"):
            branch.answer(SECONDS)
    finally:
        branch.close()


def test_what_a_killed_fork_had_started_is_reaped(
    server: ForkServer, part: Callable[..., Part], tmp_path: Path
) -> None:
    (fork,) = server.fork([part("sleep")])
    log = tmp_path / "part.log"
    until(lambda: log.exists() and bool(log.read_text().strip()))
    child = int(log.read_text())
    fork.kill()
    fork.wait(SECONDS)
    until(lambda: not reap(fork.pid))
    assert not Path(f"/proc/{child}").exists()


def test_imports_that_fail_are_told(tmp_path: Path) -> None:
    server = ForkServer.start(
        ["no_such_module"], os.environ | {"ASGD_PARENT": str(os.getpid())}, tmp_path / "log"
    )
    with pytest.raises(Refused, match="ModuleNotFoundError: No module named 'no_such_module'"):
        server.answer(SECONDS)
    server.close()
