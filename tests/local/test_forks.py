"""One process imports torch and the user's code, and the check, workers, evaluator and restarts are forked from it.

The user's module says each time it is imported; a hook in `sitecustomize` does so for torch.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from tests.local.run import Run

HOOK = """
import os, sys
from pathlib import Path

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            with (Path(__file__).with_name("torch-imports")).open("a") as file:
                file.write(f"{os.getpid()}\\n")

sys.meta_path.insert(0, Noting())
"""

COUNTED = """
import os, sys, time
from pathlib import Path
from asgd import Task
from tasks import counting

FOLDER = Path(__file__).parent
with (FOLDER / "own-imports").open("a") as file:
    file.write("imported\\n")
print("the user's module speaks")
HASH = hash("a word")

def task(**args):
    with (FOLDER / "hashes").open("a") as file:
        file.write(f"{HASH}\\n")
    return counting(pace=str(FOLDER / "pace"), **args)
"""


class Forked(Run):
    """A run of `own:task`, a module in its folder that begins with COUNTED; `more` stands behind that."""

    def __init__(self, folder: Path, more: str = "", pace: float = 0.05, **spec: Any) -> None:
        text = dedent(COUNTED) + dedent(more)
        (folder / "own.py").write_text(text, encoding="utf-8")
        (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self._pace = folder / "pace"
        self.pace(pace)
        base: dict[str, Any] = {
            "entrypoint": "own:task",
            "args": {"evaluates": True},
            "workers": {"replicas": 2},
            "optimizer": {"learningRate": 1},
            "batchSize": 8,
            "evaluation": {"everySeconds": 0.2},
            "stopAfter": {"epochs": 4},
        }
        super().__init__(folder, base | spec)

    def pace(self, seconds: float) -> None:
        """From now on a step takes about `seconds`."""
        partial = self._pace.with_suffix(".partial")
        partial.write_text(str(seconds), encoding="utf-8")
        partial.replace(self._pace)

    def finish(self) -> int:
        """Lets the run go as fast as it can; its exit code."""
        self.pace(0)
        return self.wait()

    def lines(self, name: str) -> list[str]:
        """What user's processes have written to a file of the folder."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def visited(self, epochs: float) -> None:
        """Every sample was visited once an epoch."""
        assert np.array_equal(self.model()["first"], np.full(512, epochs))


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's command is started anew (`tests/warm.py`), and torch's imports are written down."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.usefixtures("hooked")
def test_torch_and_the_users_code_are_imported_once_for_all_processes_of_a_run(tmp_path: Path) -> None:
    with Forked(tmp_path) as run:
        run.until_updates(5)
        rows = run.rows()
        names = {name for name in rows if not name.startswith("forkserver")}
        assert names == {"server-0", "worker-0", "worker-1", "evaluator-0"}
        titles = {name: Path(f"/proc/{rows[name]['pid']}/cmdline").read_bytes() for name in names}
        assert all(titles[name].rstrip(b"\0").decode() == f"asgd {name.replace('-', ' ')}" for name in names)
        assert run.finish() == 0, run.words()
        assert run.lines("own-imports") == ["imported"]
        assert len(run.lines("torch-imports")) == 1
        assert len(run.lines("hashes")) == 4, "the check, two workers and the evaluator"
        assert len({*run.lines("hashes")}) == 1
        assert run.log("forkserver").count("the user's module speaks") == 1
        assert "the user's module speaks" not in run.log("worker-0") + run.said
        run.visited(4)


@pytest.mark.slow
@pytest.mark.usefixtures("hooked")
def test_a_killed_worker_comes_back_by_a_fork(tmp_path: Path) -> None:
    with Forked(tmp_path) as run:
        run.until_updates(10)
        run.signal("worker-1", signal.SIGKILL)
        run.until("worker 1 has joined again", lambda: run.log("worker-1").count("joined") == 2)
        assert run.finish() == 0, run.words()
        assert (run.lines("own-imports"), len(run.lines("torch-imports"))) == (["imported"], 1)
        assert run.summary().restarts["worker"] == 1
        run.visited(4)


@pytest.mark.slow
@pytest.mark.usefixtures("hooked")
def test_the_run_goes_on_without_its_fork_servers_and_starts_them_again(tmp_path: Path) -> None:
    with Forked(tmp_path) as run:
        run.until_updates(10)
        old = {name: run.pid(name) for name in ("forkserver-0", "forkserver-1", "forkserver-2")}
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        run.until_says("the fork server of workers has ended and starts again; the run goes on")
        for name in ("worker-0", "server-0"):
            killed = run.signal(name, signal.SIGKILL)
            run.until(f"{name} is back", lambda name=name, killed=killed: run.pid(name) != killed)  # type: ignore[misc]
        run.until_updates(30)
        run.until("torch has another fork server", lambda: run.pid("forkserver-1") != old["forkserver-1"])
        restarts = {name: row["restarts"] for name, row in run.rows().items()}
        assert (restarts["worker-0"], restarts["worker-1"], restarts["server-0"]) == (1, 0, 1)
        assert run.finish() == 0, run.words()


@pytest.mark.usefixtures("hooked")
@pytest.mark.slow
def test_code_that_starts_a_thread_when_it_is_imported_is_imported_by_each_process_and_the_run_says_so(
    tmp_path: Path,
) -> None:
    thread = """
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    """
    with Forked(tmp_path, thread, pace=0) as run:
        assert run.wait() == 0, run.words()
        assert "each process imports own itself: importing it left 1 thread running" in run.said
        assert len(run.lines("own-imports")) == 5, "the fork server, the check, two workers and the evaluator"
        assert len(run.lines("torch-imports")) == 1
        run.visited(4)


@pytest.mark.slow
@pytest.mark.usefixtures("hooked")
def test_where_nothing_can_be_forked_each_process_is_started_anew(tmp_path: Path) -> None:
    everywhere = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    run = Forked(tmp_path, pace=0)
    (tmp_path / "sitecustomize.py").write_text(HOOK + everywhere, encoding="utf-8")
    with run:
        assert run.wait() == 0, run.words()
        assert "each process imports torch and own itself" in run.said
        assert "its imports left 1 thread running" in run.said
        assert len(run.lines("torch-imports")) == 5, (
            "the fork server, the check, two workers and the evaluator"
        )
        assert len({*run.lines("hashes")}) == 1, "one hash seed for all"
        run.visited(4)


def test_code_that_ends_the_process_that_imports_it_is_told_in_one_sentence(tmp_path: Path) -> None:
    with Forked(tmp_path, "os._exit(3)") as run:
        assert run.wait() == 2, run.words()
        assert run.stderr.startswith("asgd: spec.entrypoint: ")
        assert "ended with 3" in run.stderr
        assert not run.orphans()


def test_an_import_that_fails_is_told_with_its_line_and_nothing_is_left(tmp_path: Path) -> None:
    with Forked(tmp_path, "1 / 0") as run:
        assert run.wait() == 2, run.words()
        line = len((tmp_path / "own.py").read_text().splitlines())
        assert run.stderr == (
            f"asgd: spec.entrypoint: importing own failed: ZeroDivisionError: division by zero (own.py:{line})\n"
        )
        assert not run.orphans()
        assert not run.output.exists()


def test_an_import_that_hangs_is_shown_while_it_lasts_and_can_be_interrupted(tmp_path: Path) -> None:
    with Forked(tmp_path, "time.sleep(3600)") as run:
        run.until_says("importing own: ")
        run.signal_command(signal.SIGINT)
        assert run.wait() == 130, run.words()
        assert not run.orphans()


@pytest.mark.slow
def test_an_import_that_hangs_ends_the_run_at_the_deadline_of_its_start(tmp_path: Path) -> None:
    policy = {"startupDeadlineSeconds": 30}
    with Forked(tmp_path, "time.sleep(3600)", runPolicy=policy) as run:
        assert run.wait() == 2, run.words()
        assert "spec.entrypoint: importing own has not ended after" in run.stderr
        assert "spec.runPolicy.startupDeadlineSeconds allows 30 s" in run.stderr
        assert not run.orphans()


@pytest.mark.slow
@pytest.mark.usefixtures("hooked")
def test_a_script_runs_from_its_beginning_in_each_worker_and_what_it_imports_first_is_imported_once(
    tmp_path: Path,
) -> None:
    run = Forked(tmp_path, entrypoint="loop.py", args={"rate": 0.5}, stopAfter={"updates": 20})
    (tmp_path / "helper.py").write_text(COUNTED.replace("from tasks import counting\n", ""), encoding="utf-8")
    (tmp_path / "loop.py").write_text(
        dedent('''
        """A script."""
        import sys
        import asgd, torch
        import helper
        print("arguments", sys.argv[1:])
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        while True:
            optimizer.zero_grad()
            model(torch.ones(8, 3)).mean().backward()
            optimizer.step()
        '''),
        encoding="utf-8",
    )
    with run:
        assert run.wait() == 0, run.words()
        assert (run.lines("own-imports"), len(run.lines("torch-imports"))) == (["imported"], 1)
        assert all("arguments ['--rate=0.5']" in run.log(f"worker-{index}") for index in (0, 1))


@pytest.mark.slow
def test_exit_handlers_of_the_users_code_run_in_each_process_that_imports_it(tmp_path: Path) -> None:
    handler = """
    import atexit
    atexit.register(lambda: print("the user's handler", flush=True))
    """
    with Forked(tmp_path, handler, pace=0) as run:
        assert run.wait() == 0, run.words()
        assert "importing it called atexit.register (own.py:" in run.said
        assert all(
            run.log(name).count("the user's handler") == 1 for name in ("worker-0", "worker-1", "evaluator-0")
        )


@pytest.mark.slow
def test_what_a_killed_worker_had_started_does_not_stay_as_a_zombie(tmp_path: Path) -> None:
    loading = """
    from dataclasses import replace
    plain = task

    def task(**args):
        return replace(plain(**args), data_workers=2)
    """
    with Forked(tmp_path, loading) as run:
        run.until_updates(10)
        assert run.process is not None
        launcher = run.process.pid
        started = children(run.pid("worker-0"))
        assert started
        run.signal("worker-0", signal.SIGKILL)
        run.until("worker 0 is back", lambda: run.log("worker-0").count("joined") == 2)
        # torch's loader processes look each 5 s whether who started them is there.
        run.until("what it had started has ended", lambda: not any(alive(pid) for pid in started))
        run.until("and is gone", lambda: not zombies(launcher))
        assert run.finish() == 0, run.words()
        run.visited(4)


def zombies(parent: int) -> list[int]:
    """Children of `parent` that have ended and were not waited for."""
    return [pid for pid in children(parent) if _state(pid)[0] == "Z"]


def children(parent: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if _state(pid)[1] == parent]


def alive(pid: int) -> bool:
    return _state(pid)[0] not in ("", "Z")


def _state(pid: int) -> tuple[str, int]:
    """Its state and who started it; ("", 0) where there is no such process."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    except OSError:
        return "", 0
    return state, int(parent)
