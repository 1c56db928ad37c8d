"""Where a run may write: never where another one does, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asgd.drivers.local.precheck import lock_store
from asgd.drivers.output import choose_output
from asgd.errors import UserError
from asgd.host.locks import Busy, FolderLock
from asgd.spec import Job, load_job

HOLD = """
import sys
from pathlib import Path
from asgd.host.locks import FolderLock
lock = FolderLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def held_elsewhere(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of `folder`."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = tmp_path / "job.yaml"
    text = "{apiVersion: asgd.dev/v1alpha1, kind: AsgdJob, metadata: {name: m}, spec: {entrypoint: 'a:b'}}"
    path.write_text(text, encoding="utf-8")
    return load_job(path)


@pytest.fixture
def again(tmp_path: Path, job: Job) -> Job:
    """The same job, told to go on."""
    return load_job(tmp_path / "job.yaml", ["checkpoint.restore=Latest"])


def test_a_folder_in_which_a_run_goes_on_is_refused_with_its_process_until_that_is_gone(
    tmp_path: Path, job: Job, again: Job
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    holder = held_elsewhere(folder)
    for asked in (job, again):
        with pytest.raises(
            UserError, match=rf"--output: .*out: a run is going on there \(.*process {holder.pid}\)"
        ):
            choose_output(asked, str(folder))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with choose_output(again, str(folder)) as output:
        assert (folder / ".lock").read_text() == f"{os.getpid()}\n"
        assert output.folder == folder
    assert not (folder / ".lock").exists()


def test_a_run_that_never_began_leaves_no_trace(tmp_path: Path, job: Job) -> None:
    choose_output(job, str(tmp_path / "out")).discard()
    assert not (tmp_path / "out").exists()


def test_runs_without_a_folder_of_their_own_take_different_ones(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = [choose_output(job, None) for _ in range(3)]
    assert [str(output.folder) for output in outputs] == ["runs/m", "runs/m-2", "runs/m-3"]
    folders = iter([Path("runs/m"), Path("runs/m-4")])
    monkeypatch.setattr("asgd.drivers.output._default", lambda *_: next(folders))
    assert str(choose_output(job, None).folder) == "runs/m-4", "another took runs/m at the same moment"
    for output in outputs:
        output.release()


def test_two_runs_with_outputs_of_their_own_never_share_a_checkpoint_store(tmp_path: Path) -> None:
    holder = held_elsewhere(tmp_path)
    with pytest.raises(UserError, match=r"spec\.checkpoint\.uri: .*: a run that writes there is going on"):
        lock_store(str(tmp_path))
    holder.communicate("")
    (lock,) = lock_store(f"file://{tmp_path}")
    lock.release()
    assert lock_store("memory://somewhere") == []


def test_a_lock_whose_file_was_removed_by_its_last_holder_is_not_held_by_two(tmp_path: Path) -> None:
    first = FolderLock.take(tmp_path)
    first.release()
    first.release()
    second = FolderLock.take(tmp_path)
    with pytest.raises(Busy, match=f"process {os.getpid()}"):
        FolderLock.take(tmp_path)
    second.release()
    assert not list(tmp_path.iterdir())


def test_where_the_file_system_has_no_locks_nobody_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("asgd.host.locks.fcntl.flock", refuse)
    FolderLock.take(tmp_path)
    FolderLock.take(tmp_path)
