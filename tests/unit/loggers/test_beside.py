"""Loggers as processes: started, asked to end, named when they fail; on a cluster beside the evaluator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from asgd.drivers.local.logged import without_loggers
from asgd.errors import TryAgain
from asgd.loggers import beside as module
from asgd.loggers.beside import Beside, identity_of
from asgd.loggers.kept import Kept
from asgd.loggers.process import follow
from asgd.loggers.starting import Loggers, Paths
from asgd.spec import Job, job_from_json, job_to_json
from asgd.spec.status import Status
from asgd.wire.messages import Command, Done

DOCUMENT = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "mine", "namespace": "default"},
    "spec": {"entrypoint": "tasks:digits"},
}


def a_job(*logging: dict[str, Any]) -> Job:
    return job_from_json(json.dumps(DOCUMENT | {"spec": {**DOCUMENT["spec"], "logging": logging}}).encode())  # type: ignore[dict-item]


def statuses() -> list[Status]:
    return [
        Status(algorithm="asgd", job="mine", phase="running", updates=10, samples=80, seconds=1.0, loss=2.0),
        Status(
            algorithm="asgd", job="mine", phase="finished", updates=20, samples=160, seconds=2.5, loss=1.0,
            metrics={"accuracy": 0.5}, metrics_at_updates=20, stop_reason="updates",
        ),
    ]  # fmt: skip


class Shard:
    """An asker whose shard 0 tells one status after the other."""

    def __init__(self, *_: object) -> None:
        self._told = statuses()

    def ask(self, message: Command, patience_seconds: float) -> Done:
        return Done(msgspec.json.encode(self._told.pop(0) if len(self._told) > 1 else self._told[0]))

    def close(self) -> None: ...


def config_of(job: Job) -> Any:
    return SimpleNamespace(job=job, servers=("ipc://nowhere",), keys=None, join_timeout_seconds=60.0)


def test_on_a_cluster_the_evaluator_s_process_logs_what_shard_0_tells_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    job = a_job({"tensorboard": {"dir": str(tmp_path / "board")}})
    (tmp_path / "job.json").write_bytes(job_to_json(job))
    monkeypatch.setenv("ASGD_JOB", str(tmp_path / "job.json"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "Asker", Shard)
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(module, "FINISH_SECONDS", 60.0)
    beside = Beside.begin(config_of(job))
    assert beside is not None and beside.alone(lambda: False) == 0
    read = accumulator.EventAccumulator(str(tmp_path / "board" / "mine"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/loss")] == [(10, 2.0), (20, 1.0)]
    assert [(event.step, event.value) for event in read.Scalars("evaluation/accuracy")] == [(20, 0.5)]


class Falling(Shard):
    """A shard 0 that stops answering after its first status, which it tells as it is `stopping`."""

    stopping = True

    def ask(self, message: Command, patience_seconds: float) -> Done:
        if not self._told:
            raise TryAgain("silence")
        status = self._told.pop(0)
        self._told = []
        return Done(
            msgspec.json.encode(msgspec.structs.replace(status, stop_reason="epochs" * self.stopping))
        )


@pytest.mark.parametrize(("stopping", "code"), [(True, 0), (False, 75)])
def test_without_an_answer_it_waits_no_longer_for_the_end_of_a_job_that_was_stopping_or_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool, code: int
) -> None:
    monkeypatch.setattr(module, "Asker", Falling)
    monkeypatch.setattr(Falling, "stopping", stopping)
    monkeypatch.setattr(module, "missing", lambda loggers: {0: "its library is not there"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("ASGD_JOB", str(tmp_path / "job.json"))
    for name in ("ASK_SECONDS", "GONE_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    config = config_of(a_job({"tensorboard": {}}))
    config.join_timeout_seconds = 0.2
    beside = Beside.begin(config)
    assert beside is not None and beside.alone(lambda: False) == code


def test_a_job_without_loggers_has_none_beside_it_and_two_jobs_of_one_name_are_two_runs() -> None:
    config = config_of(a_job())
    assert Beside.begin(config) is None
    other = SimpleNamespace(job=config.job, keys=SimpleNamespace(server_public="another"))
    assert identity_of(cast(Any, other)) != identity_of(config) == identity_of(config_of(a_job()))


def test_under_asgd_run_the_evaluator_is_told_of_no_logger() -> None:
    job = a_job({"tensorboard": {}})
    assert job.spec.logging and job_from_json(without_loggers(job)).spec.logging == ()
    assert job_from_json(without_loggers(job)).spec == a_job().spec


def test_a_logger_that_can_not_write_is_said_once_and_named_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").touch()
    job = a_job({"tensorboard": {"dir": str(tmp_path / "file")}})
    (tmp_path / "job.json").write_bytes(job_to_json(job))
    said: list[str] = []
    paths = Paths(tmp_path / "history.jsonl", tmp_path, tmp_path, tmp_path / "kept")
    loggers = Loggers(job.spec.logging, tmp_path / "job.json", paths, said.append)
    loggers.start("mine", {})
    keeps = tmp_path / "kept" / "0-tensorboard.json"
    for _ in range(1200):
        if keeps.exists():
            break
        threading.Event().wait(0.05)
    loggers.look()
    loggers.look()
    loggers.finish()
    warnings = [line for line in said if line.startswith("warning: ")]
    assert [line.split(": ")[1].split(" (")[0] for line in warnings] == [
        "the logger tensorboard can't write now, and tries again",
        "the logger tensorboard has not written all",
    ]
    assert "NotADirectoryError" in warnings[0] or "FileExistsError" in warnings[0]


class Flaky:
    """A `Following` that fails so often."""

    def __init__(self, failures: int) -> None:
        self.kept, self.failures, self.closed = Kept("k"), failures, False

    def look(self) -> bool:
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        return False

    def give_up(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("failures", "code", "trouble"), [(0, 0, ""), (2, 0, ""), (9, 1, "OSError: the disk is full")]
)
def test_at_the_end_a_logger_tries_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, code: int, trouble: str
) -> None:
    monkeypatch.setattr("asgd.loggers.process.LOOK_SECONDS", 0.0)
    over = threading.Event()
    over.set()
    following = Flaky(failures)
    assert follow(cast(Any, following), tmp_path / "kept.json", over) == code
    assert (following.closed, Kept.load(tmp_path / "kept.json").trouble) == (code == 0, trouble)


def test_what_trains_and_what_starts_a_run_import_no_logger_s_library() -> None:
    code = (
        "import sys, asgd.drivers.local.run, asgd.worker.evaluator, asgd.worker.process, asgd.server.process;"
        "print([name for name in ('tensorboard', 'mlflow', 'wandb') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert told.stdout.strip() == "[]"
