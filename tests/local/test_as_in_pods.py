"""Processes that read the spec as in pods: a file without the live fields, and one with them alone.

`asgd run` gives all in one file, so what takes a live field's default for what the user has given shows up here only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from asgd.spec import Job
from asgd.spec.live import split
from tests.checks.processes import Processes
from tests.users.jobs import MEET

pytestmark = pytest.mark.timeout(200)
WORKERS = 3
SPEC = {
    "entrypoint": "train.py",
    "stopAfter": {"updates": 60},
    "workers": {"replicas": WORKERS},
    "parameterServer": {"shards": 1},
}
TELL = f"""
    import itertools, torch, asgd

    def tell():
        pathlib.Path(f"told-{{os.environ['ASGD_WORKER_INDEX']}}").write_text(os.environ["ASGD_WORKERS"])
        meet({WORKERS})
"""
WITH_DATA_OF_ITS_OWN = """
    model = torch.nn.Linear(3, 1)
    optimizer = asgd.connect(model)
    tell()
    while not optimizer.stopped:
        optimizer.zero_grad()
        loss = model(torch.ones(8, 3)).square().mean()
        loss.backward()
        optimizer.step(loss=loss)
"""
STREAM = """
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            tell()
            return itertools.repeat(torch.ones(3))

    def task():
        loss = lambda model, batch: model(batch).square().mean()
        return asgd.Task(model=torch.nn.Linear(3, 1), loss=loss, data=Endless())
"""


class Pods(Processes):
    """As the operator starts them."""

    def _write(self, spec: dict[str, Any]) -> Job:
        job = super()._write(spec)
        frozen, live = split(job.document["spec"])
        (self.folder / "job.json").write_bytes(msgspec.json.encode({**job.document, "spec": frozen}))
        self.edit(live)
        return job

    def edit(self, live: dict[str, Any]) -> None:
        partial = self.folder / "live.partial"
        partial.write_text(json.dumps(live), encoding="utf-8")
        partial.replace(self.folder / "live.json")

    def environment(self, index: int) -> dict[str, str]:
        return super().environment(index) | {"ASGD_LIVE": str(self.folder / "live.json")}


@contextmanager
def pods(folder: Path, code: str, spec: dict[str, Any]) -> Iterator[Pods]:
    folder.mkdir()
    (folder / "train.py").write_text(dedent(MEET) + dedent(TELL) + dedent(code), encoding="utf-8")
    with Pods(folder, spec) as job:
        yield job


@pytest.mark.parametrize(
    ("code", "entrypoint"),
    [(WITH_DATA_OF_ITS_OWN, "train.py"), (STREAM, "train.py:task")],
    ids=["a script", "a stream"],
)
def test_workers_know_the_jobs_stop_rule_and_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, entrypoint: str
) -> None:
    folder = tmp_path / "job"
    with pods(folder, code, SPEC | {"entrypoint": entrypoint}) as job:
        monkeypatch.chdir(folder)
        workers = [job.start("worker", index) for index in range(WORKERS)]
        assert [worker.wait(150) for worker in workers] == [0] * WORKERS, job.logs()
        assert job.until(lambda status: bool(status.stop_reason)).stop_reason == "updates"
        assert [(folder / f"told-{index}").read_text() for index in range(WORKERS)] == [
            str(WORKERS)
        ] * WORKERS
