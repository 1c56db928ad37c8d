"""What pods leave on a claim is a recording like that of `asgd run`: logs, and what each process says of itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgd.errors import UserError
from asgd.record import pods
from asgd.record import run as recording
from asgd.record.format import Head, Joined, Log, Restored
from asgd.record.reading import load
from asgd.spec import load_job
from asgd.spec.live import split
from asgd.spec.load import job_from_json
from asgd.spec.types import Job
from tests import warm
from tests.checks.virtual import job as job_of
from tests.local.run import HERE, Run
from tests.local.test_replay import _samples, go, noisy

pytestmark = pytest.mark.slow
FAR = 70
"""Beyond the 64 workers of a job that says nothing else, which is what pods read: `maxReplicas` is a live field."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose strategy holds pulls back, with a worker that has a high number."""
    more = {"algorithm": {"name": "ssp", "bound": 1}, "stopAfter": {"updates": 200}}
    folder = tmp_path_factory.mktemp("pods")
    many = ["--set", "workers.maxReplicas=100"]
    with noisy(folder, *many, workers=2, size=64, pace=0.05, **more) as found:
        found.until_updates(5)
        with (folder / "late.log").open("wb") as log:
            words = ["worker", "--join", str(found.output), "--index", str(FAR)]
            late = warm.start(words, log, log, cwd=HERE)
        found.until("it has trained", lambda: _samples(found, FAR) > 0)
        go(found)
        late.wait(30)
    return found


def as_pods_read(run: Run) -> Job:
    job = load_job(run.output / "job.yaml")
    frozen, _ = split(job.document["spec"])
    return job_from_json(msgspec.json.encode({**job.document, "spec": frozen}))


@pytest.fixture
def left(run: Run, tmp_path: Path) -> Path:
    """The folder as two servers and two workers leave it on a claim."""
    folder = tmp_path / "again" / "replay"
    shutil.copytree(run.output / "replay", folder)
    threads = int(recording.read(folder).threads)
    (folder / "run.json").unlink()
    for path in folder.glob("worker-*.log"):
        _, index, incarnation = path.stem.split("-")
        pods.leave_process(folder, int(index), int(incarnation), threads)
    for _ in range(2):  # a shard 0 that was restarted leaves the same
        pods.leave_job(folder, as_pods_read(run))
    return folder


def close(run: Run, folder: Path) -> str:
    told = recording.read(run.output / "replay")
    return pods.close(folder, told.save, told.weights)


def test_it_replays_to_the_same_bits_without_the_live_fields(run: Run, left: Path) -> None:
    assert close(run, left) == ""
    done = warm.run(["replay", str(left.parent), "--json"], cwd=HERE)
    told = json.loads(done.stdout or "{}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert told["equal"] is True and told["updates"] == run.summary().updates
    assert told["weightsSha256"] == run.summary().weights_sha256
    assert recording.read(left).packages == recording.packages()


def edited(folder: Path, run: Run, **spec: Any) -> None:
    job = as_pods_read(run)
    document = {**job.document, "spec": {**job.document["spec"], **(spec or {"batchSize": 16})}}
    pods.leave_job(folder, job_from_json(msgspec.json.encode(document)))


def script(folder: Path, run: Run) -> None:
    next(folder.glob("job-*.json")).unlink()
    edited(folder, run, entrypoint="train.py")


def stranger(folder: Path, run: Run) -> None:
    log = Log(folder / "shard-1-2.log", Head("shard", 1, 2))
    log.add(Joined("worker", 7, 5, 10, "layout", 64, 0))
    log.close()


def restored(folder: Path, run: Run) -> None:
    (folder / "shard-0-1.log").unlink()
    log = Log(folder / "shard-0-4.log", Head("shard", 0, 4))
    log.add(Restored(3))
    log.close()


def cut(folder: Path, run: Run) -> None:
    log = folder / "shard-1-1.log"
    log.write_bytes(log.read_bytes()[:-3])


def streamed(folder: Path, run: Run) -> None:
    log = Log(folder / "shard-1-2.log", Head("shard", 1, 2))
    log.add(Joined("worker", 0, 5, 10, "layout", None, 0))
    log.close()


def lost(folder: Path, run: Run) -> None:
    for path in folder.glob("shard-1-*.log"):
        path.unlink()


OBSTACLES: list[tuple[Callable[[Path, Run], object], str]] = [
    (edited, "its spec was edited while it was suspended"),
    (script, r"a training loop of its own \(asgd.connect\)"),
    (stranger, "incomplete: worker 7 took part and left no log"),
    (restored, "it began from a checkpoint of an earlier run"),
    (cut, recording.INCOMPLETE),
    (lost, recording.INCOMPLETE),
    (streamed, "the data is a stream"),
    (
        lambda folder, run: pods.leave_process(folder, 0, 9, 64),
        r"its workers computed with \d+ and 64 threads",
    ),
    (lambda folder, run: [path.unlink() for path in folder.glob("job-*.json")], "shard 0 could not write"),
    (lambda folder, run: [path.unlink() for path in folder.glob("*.log")], "no worker has joined it"),
]


@pytest.mark.parametrize(("harm", "sentence"), OBSTACLES, ids=[sentence[:30] for _, sentence in OBSTACLES])
def test_what_cannot_be_replayed_says_why(
    run: Run, left: Path, harm: Callable[[Path, Run], object], sentence: str
) -> None:
    harm(left, run)
    said = close(run, left)
    assert re.search(sentence, said), said
    if (left / "run.json").exists():
        with pytest.raises(UserError, match=sentence):
            load(left.parent)


def test_the_number_of_workers_belongs_to_the_job_where_the_strategy_computes_with_it(tmp_path: Path) -> None:
    for name, files in (("asgd", 1), ("safeguard", 2)):
        for replicas in (4, 4, 9):
            job = job_of(
                algorithm={"name": name}, workers={"replicas": replicas}, stopAfter={"updates": replicas}
            )
            pods.leave_job(tmp_path / name, job)
        assert len([*(tmp_path / name).iterdir()]) == files


def test_a_damaged_file_is_named(run: Run, left: Path) -> None:
    next(left.glob("worker-*.json")).write_text("{")
    with pytest.raises(UserError, match=r"worker-.*\.json is damaged"):
        close(run, left)


def test_beside_a_recording_of_asgd_run_and_without_a_folder_nothing_is_left(
    run: Run, tmp_path: Path
) -> None:
    before = {path.name for path in (run.output / "replay").iterdir()}
    pods.leave_job(run.output / "replay", as_pods_read(run))
    pods.leave_process(None, 0, 1, 1)
    assert {path.name for path in (run.output / "replay").iterdir()} == before
    (tmp_path / "file").write_text("")
    pods.leave_process(tmp_path / "file" / "replay", 0, 1, 1)  # a claim that cannot be written ends no run
