"""What a worker's own optimizer remembers, in an object store: for the pod that takes its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
import torch
from torch import nn

from asgd.server.saves.store import Store
from asgd.worker import kept_afar
from asgd.worker.keeping import Keeping
from asgd.worker.kept_afar import Afar, object_store
from asgd.worker.optimizing.stepping import TaskOptimizer
from tests.users.test_own_optimizer import rule_of

URI = "memory://asgd-kept-afar/job"
FILE = "/asgd-kept-afar/job/optimizers/worker-2.pt"


@pytest.fixture(autouse=True)
def store() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    fs.makedirs("/asgd-kept-afar", exist_ok=True)
    yield fs
    fs.rm("/asgd-kept-afar", recursive=True)


def worker(uri: str = URI) -> tuple[Keeping, TaskOptimizer, Afar]:
    """Worker 2 on a machine of its own."""
    optimizer, flat = rule_of(lambda params: torch.optim.Adam(params, lr=0.1), nn.Linear(3, 2))
    afar = Afar(uri, 2)
    return Keeping(afar.folder, 2, optimizer, flat, 60.0, afar=afar), optimizer, afar


def steps(optimizer: TaskOptimizer) -> float:
    return max((float(state["step"]) for state in optimizer.state()["state"].values()), default=0.0)


def train(optimizer: TaskOptimizer) -> None:
    size = 3 * 2 + 2
    optimizer.step(torch.zeros(size), torch.ones(size), 1.0, torch.empty(size))


def test_a_pod_that_takes_a_seat_goes_on_with_the_state_of_its_predecessor(store: Any) -> None:
    first, optimizer, _ = worker()
    assert first.restore() == ""
    for _ in range(3):
        train(optimizer)
    first.save()
    first.close(None)
    assert store.exists(FILE) and not store.exists(FILE + ".partial")
    second, other, _ = worker()
    assert second.restore() == "Adam goes on with the state of before"
    other.forget()
    assert steps(other) == 3


def test_of_states_that_wait_for_a_slow_store_the_newest_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []
    go, begun = threading.Event(), threading.Event()
    keeping, optimizer, afar = worker()
    put = afar._put

    def slow() -> None:
        begun.set()
        assert go.wait(30)
        put()
        sent.append(steps(optimizer))

    monkeypatch.setattr(afar, "_put", slow)
    for _ in range(5):
        train(optimizer)
        keeping.save()
        assert begun.wait(30)
    go.set()
    keeping.close(None)
    assert len(sent) == 2, "the first, and what was the newest when that was done"
    second, other, _ = worker()
    second.restore()
    other.forget()
    assert steps(other) == 5


def test_a_store_that_hangs_is_waited_for_only_so_long_and_holds_up_no_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hangs = threading.Event()

    def slow(*given: Any, **named: Any) -> Store:
        hangs.wait(60)
        return Store(*given, **named)

    monkeypatch.setattr(kept_afar, "Store", slow)
    keeping, optimizer, afar = worker()
    assert afar.fetch(0.05) == f"{URI} has not answered for 0 s"
    train(optimizer)
    keeping.save()
    keeping.close(0.05)
    assert "the last state of this worker's optimizer is not in it after 0 s" in capsys.readouterr().out
    hangs.set()
    assert afar._idle.wait(30), "it goes on once the store does"


def test_a_store_that_refuses_is_said_once_and_ends_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    keeping, optimizer, _ = worker("nothing-of-this-name://bucket/job")
    said = keeping.restore()
    assert said.startswith("Adam begins anew: spec.checkpoint.uri: 'nothing-of-this-name://bucket/job'")
    for _ in range(3):
        train(optimizer)
        keeping.save()
        keeping.close(None)
    assert capsys.readouterr().out.count("a restart begins this worker's optimizer anew") == 1


def test_a_job_that_begins_anew_in_the_store_begins_its_optimizers_anew() -> None:
    keeping, optimizer, _ = worker()
    train(optimizer)
    keeping.save()
    keeping.close(None)
    Store(URI).drop_optimizers()
    Store(URI).drop_optimizers()
    assert worker()[0].restore() == ""


@pytest.mark.parametrize(
    ("uri", "shared"),
    [("", False), ("file:///checkpoints", False), ("/data", False), ("s3://bucket/job", True)],
)
def test_only_object_stores_are_seen_by_all_pods(uri: str, shared: bool) -> None:
    assert object_store(uri) == shared
