"""A job's real processes, started as the operator or `asgd run` start them: by environment variables alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import yaml

from asgd.host.env import ProcessConfig, read_config
from asgd.kernel import F32
from asgd.server.saves.reading import assemble
from asgd.server.saves.store import Store
from asgd.spec import Job, job_to_json, load_job
from asgd.spec.status import Status
from asgd.spec.types import Codec
from asgd.wire.ask import Asker
from asgd.wire.messages import Command, Done
from asgd.worker.sending.centre import Centre, open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from asgd.worker.sending.patience import Patience
from tests import warm
from tests.warm import AnyProcess

PATIENCE_SECONDS = 150.0
"""For machines that have much else to do."""
SIZE = 30
"""Parameters of the model that workers without a model say they have."""


class Processes:
    """Servers of one job, and workers as they are asked for; all are gone when the context ends."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.job = self._write(spec)
        shards = self.job.spec.parameter_server.shards
        self._endpoints = [f"ipc://{folder}/{index}.sock" for index in range(shards)]
        self._children: list[AnyProcess] = []
        self.servers = [self.start("server", i, ASGD_BIND=self._endpoints[i]) for i in range(shards)]
        self._asker = Asker(self._endpoints[0], None)

    def _write(self, spec: dict[str, Any]) -> Job:
        document = {
            "apiVersion": "asgd.dev/v1alpha1",
            "kind": "AsgdJob",
            "metadata": {"name": "check"},
            "spec": spec,
        }
        (self.folder / "job.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        job = load_job(self.folder / "job.yaml")
        (self.folder / "job.json").write_bytes(job_to_json(job))
        return job

    def environment(self, index: int) -> dict[str, str]:
        return {
            "ASGD_JOB": str(self.folder / "job.json"),
            "ASGD_INDEX": str(index),
            "ASGD_SERVERS": ",".join(self._endpoints),
            "ASGD_CHECKPOINT": str(self.folder / "checkpoints"),
        }

    def config(self, index: int) -> ProcessConfig:
        """For a worker inside the test's own process."""
        return read_config(self.environment(index))

    def start(self, role: str, index: int, **extra: str) -> AnyProcess:
        with (self.folder / f"{role}-{index}.log").open("ab") as log:
            child = warm.start([role], log, log, env=os.environ | self.environment(index) | extra)
        self._children.append(child)
        return child

    def status(self) -> Status | None:
        """What shard 0 says; None before it has anything to say."""
        answer = self._asker.ask(Command("status"), PATIENCE_SECONDS)
        assert isinstance(answer, Done)
        return msgspec.json.decode(answer.body, type=Status) if len(answer.body) > 2 else None

    def until(self, holds: Callable[[Status], bool]) -> Status:
        """The first status that `holds`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status = self.status()
            if status and holds(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"it never came; the last status: {status}\n{self.logs()}")

    def logs(self) -> str:
        codes = "\n".join(f"{child.args} {child.poll()}" for child in self._children)
        return codes + "".join(f"\n{p.name}: {p.read_text()}" for p in sorted(self.folder.glob("*.log")))

    def model(self) -> dict[str, F32]:
        """The newest checkpoint."""
        store = Store(str(self.folder / "checkpoints"))
        newest = store.newest()
        assert newest is not None
        return assemble(store.fs, store.path(f"{newest.save:06d}"), newest)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            error.add_note(self.logs())
        self._asker.close()
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()


def centre_of(
    run: Processes,
    index: int,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    dataset: int | None = None,
    split: bool = False,
) -> Centre:
    """A worker inside the test's own process: it speaks the wire and computes nothing."""
    config = run.config(index)
    identity = PeerIdentity(
        job="check",
        role="worker",
        index=index,
        incarnation=config.incarnation,
        size=SIZE,
        layout="layout",
        dataset=dataset,
    )
    patience = Patience(patience_seconds)
    return open_centre(config.servers, None, identity, Codec(), split=split, patience=patience)


def push_of(centre: Centre, *visits: tuple[int, int, int]) -> PushHeader:
    """What the next push of 8 samples says beside its payload."""
    sequence = centre.channels[0].acknowledged + 1
    return PushHeader(sequence=sequence, samples=8, steps=1, loss=0.5, visits=visits)
