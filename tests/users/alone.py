"""A script's function or a task as the only worker of a job, in the test's own process; and the same in plain PyTorch.

The servers, lanes and messages are those of a run: a parameter server serves in a thread. `Plain` stands where a script
has `import asgd`: it gives out `torch.optim.SGD`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import asgd
from asgd.host.env import read_config
from asgd.server.process import open_service
from asgd.server.service import Service
from asgd.spec import job_to_json
from asgd.worker import joined
from asgd.worker.process import work
from asgd.worker.reading.data import seed_worker
from tests.checks.virtual import job

RATE = 0.25
"""A power of two: `lr * gradient` is exact, so that fused and separate roundings agree bit for bit."""
SPEC = {
    "entrypoint": "script.py",
    "optimizer": {"learningRate": RATE},
    "stopAfter": {"updates": 100_000},
    "workers": {"replicas": 1},
    "batchSize": 8,
}


class PlainSGD(torch.optim.SGD):
    """What the script would use without us, with what `asgd.connect` adds to it."""

    index = 0

    def __init__(self, model: nn.Module, **spec: Any) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], lr=RATE, **spec)

    def step(self, closure: Any = None, *, loss: Any = None, samples: int | None = None) -> Any:
        return super().step(closure)

    def until_stopped(self, items: Iterable[Any]) -> Iterable[Any]:
        return items

    def report(self, **metrics: float) -> None: ...


class Plain:
    """`asgd` for a script that trains alone."""

    def __init__(self, **spec: Any) -> None:
        self._spec = spec

    def connect(self, model: nn.Module) -> PlainSGD:
        optimizer = PlainSGD(model, **self._spec)
        # As `asgd.connect` does: from here on a worker's random numbers are its own.
        seed_worker(0, 0)
        return optimizer


@contextmanager
def only_worker(folder: Path, patch: pytest.MonkeyPatch, **spec: Any) -> Iterator[ModuleType]:
    """`asgd` for a script that is the one worker of a job of `spec`."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with _served(folder, {**SPEC, **spec}) as env:
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            yield asgd
            if joined.connection:
                joined.connection.close()
        finally:
            if joined.connection:
                joined.connection.close(failed=True)
            joined.connection = None
            for number, handler in handlers.items():
                signal.signal(number, handler)


def work_alone(folder: Path, task: asgd.Task, **spec: Any) -> int:
    """`task` trained by the one worker of a job of `spec`, to its end; returns the worker's exit code."""
    with _served(folder, {**SPEC, "entrypoint": "mine.py:task", **spec}) as env:
        return work(read_config(env), task, [])


@contextmanager
def _served(folder: Path, spec: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The environment of a worker whose servers serve in a thread."""
    (folder / "job.json").write_bytes(job_to_json(job(**spec)))
    address = f"ipc://{folder}/server.sock"
    env = {"ASGD_JOB": str(folder / "job.json"), "ASGD_INDEX": "0", "ASGD_SERVERS": address}
    service = open_service(read_config({**env, "ASGD_BIND": address}))
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(service, over))
    thread.start()
    try:
        yield env
    finally:
        over.set()
        thread.join()


def _serve(service: Service, over: threading.Event) -> None:
    while not over.is_set():
        service.step()
    service.close()
