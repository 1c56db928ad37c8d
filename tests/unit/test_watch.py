"""What `asgd run` does about worker processes that live and do nothing: real processes, and a clock that is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from asgd import exitcodes
from asgd.drivers.local.children import Child, Children
from asgd.drivers.local.starter import Order, Starter
from asgd.drivers.local.watch import SILENT_SECONDS, Watch
from asgd.drivers.output import Output
from asgd.errors import TryAgain, UserError
from asgd.host.forking import Process
from asgd.spec.status import Status, WorkerView
from tests.checks.harness import job_spec

STARTUP = 1800.0


class Sleepers:
    """Starts processes that sleep, each in a session of its own, whatever they are to be."""

    processes: tuple[tuple[int, int], ...] = ()

    def start_workers(self, orders: Sequence[Order]) -> list[Process]:
        command = [sys.executable, "-c", "import time; time.sleep(1000)"]
        return [subprocess.Popen(command, start_new_session=True) for _ in orders]

    start_servers = start_workers


class Scene:
    """A run of two workers, as its watch sees it."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.children = Children(Output(folder, False, False), cast(Starter, Sleepers()))
        self.children.start({("worker", 0): {}, ("worker", 1): {}})
        self.now = 0.0
        self.notes: list[str] = []
        spec = job_spec(runPolicy={"startupDeadlineSeconds": int(STARTUP)})
        self.watch = Watch(spec, self.children, self.notes.append, lambda _: True, lambda: self.now)
        self.pid = self.children.all["worker-1"].process.pid

    def look(self, *states: str, updates: int = 7, **fields: Any) -> None:
        """One look; worker i is in `states[i]`, or unknown to shard 0 where that is empty."""
        views = [
            WorkerView(index, state, 0.0, None if state == "running" else 1.0)
            for index, state in enumerate(states)
            if state
        ]
        self.watch.look(
            Status(job="x", algorithm="asgd", phase="running", workers=views, updates=updates, **fields)
        )

    def wait(self, seconds: float, *states: str, **fields: Any) -> None:
        self.now += seconds
        self.look(*states, **fields)

    @property
    def killed(self) -> bool:
        """Worker 1's first process has ended, and another stands in its place after the next look."""
        self.children.wait(0.0)
        return self.children.all["worker-1"].process.poll() is not None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.children.kill()


def replaced(scene: Scene) -> None:
    """The process ends by SIGKILL, and is started again within its budget."""
    child = scene.children.all["worker-1"]
    child.process.wait(30)
    scene.look("running", "hung")
    assert child.restarts == 1
    assert child.process.pid != scene.pid
    assert any("worker-1 ended by signal SIGKILL; it starts again" in note for note in scene.notes)


def test_a_worker_that_starts_again_after_an_error_is_noted_with_its_last_words(scene: Scene) -> None:
    child = scene.children.all["worker-1"]
    child.process.kill()
    child.process.wait(30)
    child.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], start_new_session=True)
    child.process.wait(30)
    scene.children.log("worker", 1).write_text("Traceback:\nValueError: the loss is broken\n")
    scene.look("running", "running")
    note = next(note for note in scene.notes if "it starts again" in note)
    assert note.startswith("worker-1 ended with exit code 1") and "ValueError: the loss is broken" in note


def test_the_last_words_of_a_process_are_a_sentence_also_where_a_stack_was_written_after_it(
    scene: Scene,
) -> None:
    log = scene.children.log("worker", 1)
    stack = 'Thread 0x00007f9b43be4b80 (most recent call first):\n  File "<frozen runpy>", line 198 in _run_module\n'
    log.write_text(
        f'Timeout (0:00:05)!\n{stack}\nCurrent thread 0x0 (most recent call first):\n  File "a.py"\n'
    )
    assert scene.children.last_words(scene.children.all["worker-1"]) == "Timeout (0:00:05)!"
    log.write_text(stack)
    assert scene.children.last_words(scene.children.all["worker-1"]) == "no message"


@pytest.mark.parametrize("state", ["hung", "lost"])
def test_a_worker_that_was_given_up_and_does_not_end_by_itself_is_killed(scene: Scene, state: str) -> None:
    scene.look("running", "running")
    scene.wait(5, "running", state)
    scene.wait(SILENT_SECONDS[state], "running", state)
    assert not scene.killed
    scene.wait(1, "running", state)
    replaced(scene)
    assert f"worker-1 lives and is no member for {SILENT_SECONDS[state]:.0f} s: it is killed" in scene.notes


def test_a_worker_that_comes_back_in_time_is_left_alone(scene: Scene) -> None:
    scene.look("running", "running")
    for _ in range(5):
        scene.wait(250, "running", "lost")
        scene.wait(1, "running", "running")
    assert not scene.killed


def test_a_worker_that_never_joins_is_killed_when_a_start_may_take_no_longer(scene: Scene) -> None:
    scene.look("running", "")
    scene.wait(STARTUP, "running", "")
    assert not scene.killed
    scene.wait(1, "running", "")
    replaced(scene)


def test_the_successor_of_a_hung_worker_gets_the_time_of_a_start_too(scene: Scene) -> None:
    scene.look("running", "running")
    scene.wait(1, "running", "hung")
    scene.children.kill_one(scene.children.all["worker-1"])
    replaced(scene)
    scene.wait(STARTUP - 10, "running", "hung")
    assert not scene.killed


def test_a_worker_in_a_long_step_that_a_restarted_shard_0_does_not_know_is_left_alone(scene: Scene) -> None:
    scene.look("running", "running")
    for _ in range(10):
        scene.wait(100, "running", "")
    assert not scene.killed


def test_a_worker_that_said_goodbye_may_take_its_time_to_end(scene: Scene) -> None:
    scene.look("running", "running")
    scene.wait(5000, "running", "left")
    scene.wait(5000, "running", "left")
    assert not scene.killed


def test_nobody_is_killed_while_the_job_ends(scene: Scene) -> None:
    scene.look("running", "running")
    scene.wait(1, "running", "hung", stop_reason="epochs")
    scene.wait(5000, "running", "hung", stop_reason="epochs")
    assert not scene.killed


def test_a_run_whose_training_does_not_begin_fails_and_says_what_it_waited_for(scene: Scene) -> None:
    waiting = "the first push of workers 0, 1, for 30 min, at most 1,800 s"
    scene.wait(STARTUP, "running", "running", updates=0, waiting_for=waiting)
    assert scene.watch.failure is None
    scene.wait(1, "running", "running", updates=0, waiting_for=waiting)
    assert isinstance(scene.watch.failure, TryAgain)
    assert str(scene.watch.failure) == (
        f"training did not begin within spec.runPolicy.startupDeadlineSeconds: 1800 s; {waiting}"
    )


def test_a_run_whose_servers_never_answer_fails_too(scene: Scene) -> None:
    scene.now = STARTUP + 1
    scene.watch.look(None)
    assert "no parameter server answers" in str(scene.watch.failure)


def test_a_server_that_another_runs_server_has_replaced_is_not_started_again(scene: Scene) -> None:
    child = Child("server", 0, {}, scene.children.all["worker-1"].process)
    scene.watch._server(child, exitcodes.FENCED)
    assert child.restarts == 0
    assert "a server of another run has taken the place of server-0" in str(scene.watch.failure)


def ended(scene: Scene, name: str, code: int, said: str, **fields: Any) -> None:
    """The process of `name` ends with `code` and these last words; then the watch looks."""
    child = scene.children.all[name]
    child.process.kill()
    child.process.wait()
    child.process = subprocess.Popen(
        [sys.executable, "-c", f"raise SystemExit({code})"], start_new_session=True
    )
    child.process.wait()
    scene.children.log(child.role, child.index).write_text(f"asgd: {said}\n")
    scene.look("running", "running", **fields)


SAID = "shard 0: worker 1: sample 17 differs from what worker 0 reads"


def test_a_worker_that_is_refused_because_it_differs_fails_the_run_in_its_own_words(scene: Scene) -> None:
    ended(scene, "worker-1", exitcodes.USER_ERROR, SAID)
    assert isinstance(scene.watch.failure, UserError) and str(scene.watch.failure) == SAID


def test_a_worker_that_is_refused_while_the_job_ends_is_told_too(scene: Scene) -> None:
    ended(scene, "worker-1", exitcodes.USER_ERROR, SAID, stop_reason="epochs")
    assert scene.watch.failure is None and SAID in scene.notes[-1]


def test_an_evaluator_that_is_refused_fails_the_run_and_is_not_started_again(scene: Scene) -> None:
    scene.children.start({("evaluator", 0): {}})
    ended(scene, "evaluator-0", exitcodes.USER_ERROR, SAID)
    assert isinstance(scene.watch.failure, UserError) and str(scene.watch.failure) == SAID
