"""Pushes that leave during backward, over real servers and sockets: sooner, and with the same bits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asgd.task import Task
from asgd.worker.assemble import About, assemble
from asgd.worker.device.backward import backward
from asgd.worker.device.flat import Flat
from asgd.worker.reading.leased import LeasedBatch
from tests.checks.processes import Processes
from tests.checks.test_a1_processes import one_thread
from tests.local.wide import RATE, Wide, plain_sgd, wide

CPU = torch.device("cpu")
STEPS = 6


class Worker:
    """A worker inside this process."""

    def __init__(self, run: Processes, task: Task) -> None:
        self.run, self.task = run, task
        self.flat = Flat(task.model, CPU)
        about = About(dataset=None, guarantee="", announced=True)
        self.replica = assemble(run.config(0), self.flat, about).replica
        assert self.replica.join() == ""

    def step(self, batch: Any) -> float:
        item = LeasedBatch(batch, len(batch[0]))
        loss = backward(self.task, self.flat, CPU, item, self.replica.pushing)
        self.replica.step(item.samples, loss)
        return loss

    def weights(self) -> dict[str, Any]:
        return {name: p.detach().numpy() for name, p in self.task.model.named_parameters() if p.requires_grad}


@contextmanager
def worker(folder: Path, task: Task, shards: int = 2, **spec: Any) -> Iterator[Worker]:
    """One that has joined a new job."""
    spec = {
        "entrypoint": "nobody:asks",
        "optimizer": {"learningRate": RATE} | spec.pop("optimizer", {}),
        "stopAfter": {"updates": 10_000},
        "workers": {"replicas": 1},
        "parameterServer": {"shards": shards},
        **spec,
    }
    with one_thread(), Processes(folder, spec) as run:
        ours = Worker(run, task)
        yield ours
        ours.replica.close("drained")


def batches(count: int = STEPS) -> list[Any]:
    source = torch.Generator().manual_seed(7)
    return [
        (torch.randn(8, 600, generator=source), torch.randint(0, 10, (8,), generator=source))
        for _ in range(count)
    ]


def fresh(accumulate: int = 1) -> Task:
    torch.manual_seed(11)
    return wide(accumulate)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name].view(np.uint32), other[name].view(np.uint32)) for name in one
    )


@pytest.mark.parametrize("lane", ["zmq", "tcp", "shm"])
def test_a_push_is_counted_while_backward_has_not_reached_the_first_layer(tmp_path: Path, lane: str) -> None:
    task = fresh()
    counted: list[int] = []
    with worker(tmp_path, task, shards=1, exchange={"lane": lane}) as ours:
        first, *rest = batches(3)
        ours.step(first)  # of which it is only watched how gradients come

        def wait() -> None:
            before = 1 + len(counted)
            deadline = time.monotonic() + 60
            while (status := ours.run.status()) is None or status.updates <= before:
                assert time.monotonic() < deadline, "nothing has left before backward was over"
            counted.append(status.updates)

        assert isinstance(task.model, Wide)
        task.model.watch = wait
        for batch in rest:
            ours.step(batch)
        assert counted == [2, 3]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("lane", ["zmq", "tcp", "shm"])
def test_one_worker_and_two_shards_are_plain_sgd_bit_for_bit(
    tmp_path: Path, lane: str, overlap: bool
) -> None:
    exchange = {"lane": lane, "overlap": overlap}
    with worker(tmp_path, fresh(), exchange=exchange) as ours:
        for batch in batches():
            ours.step(batch)
        ours.run.until(lambda status: status.updates == STEPS)
        assert ours.replica.centre.shards.versions == (STEPS, STEPS)
        with one_thread():
            assert equal(ours.weights(), plain_sgd(fresh(), batches()))
            assert not equal(ours.weights(), plain_sgd(fresh(), batches(STEPS - 1)))


@pytest.mark.parametrize("codec", ["bf16", "int8", "topk"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_codecs_and_micro_batches_give_the_bits_that_they_give_without_overlap(
    tmp_path: Path, codec: str, accumulate: int
) -> None:
    found = []
    for overlap in (True, False):
        spec = {"codec": {"push": codec}, "exchange": {"overlap": overlap}}
        with worker(tmp_path / str(overlap), fresh(accumulate), **spec) as ours:
            left = [ours.step(batch) for batch in batches(4)]
            found.append((left, {name: array.copy() for name, array in ours.weights().items()}))
            assert (ours.replica.overlap is not None) == overlap
    assert found[0][0] == found[1][0]
    assert equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "spec",
    [
        {"optimizer": {"clipNorm": 1.0}},
        {"exchange": {"ahead": 1}},
        {"exchange": {"pushEvery": 2, "fetchEvery": 2}},
        {"exchange": {"overlap": False}},
        {"algorithm": {"name": "easgd"}},
        {"chaos": {"byzantine": [{"attack": "zero", "workers": [0]}]}},
        {"parameterServer": {"shards": 8}},
    ],
)
def test_a_push_that_is_not_the_raw_gradient_or_has_nothing_to_gain_waits_for_the_end(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    task = fresh()
    with worker(tmp_path, task, **spec) as ours:
        assert isinstance(task.model, Wide)

        def nothing_left() -> None:
            assert ours.replica.early is None

        task.model.watch = nothing_left
        for batch in batches(3):
            ours.step(batch)


def test_nothing_leaves_of_a_step_whose_loss_is_not_finite(tmp_path: Path) -> None:
    good, bad, after = batches(3)
    bad = (bad[0].index_fill(1, torch.tensor([0]), torch.nan), bad[1])
    with worker(tmp_path, fresh()) as ours:
        ours.step(good)
        ours.step(bad)
        assert ours.replica.centre.shards.versions == (1, 1)
        assert ours.replica.meters.refused == {"nonfinite": 2}
        ours.step(after)
        with one_thread():
            assert equal(ours.weights(), plain_sgd(fresh(), [good, after]))


def test_an_error_in_backward_ends_the_push_that_was_on_its_way(tmp_path: Path) -> None:
    task = fresh()
    with worker(tmp_path, task) as ours:
        first, second = batches(2)
        ours.step(first)

        def fail() -> None:
            raise ZeroDivisionError("mine")

        assert isinstance(task.model, Wide)
        task.model.watch = fail
        with pytest.raises(ZeroDivisionError, match="mine"):
            ours.step(second)
        early = ours.replica.early
        assert early is not None
        assert "backward pass has failed" in str(early.exception(timeout=60))


def test_a_gradient_that_comes_in_two_parts_is_found_out_and_nothing_leaves_early(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def twice(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        # Each checkpoint runs a backward pass of its own within the outer one.
        assert isinstance(model, Wide)
        value = model.first(batch[0])
        for layer in (model.shared, model.late, model.shared):
            value = torch.utils.checkpoint.checkpoint(layer, value, use_reentrant=True)
        return torch.nn.functional.cross_entropy(model.head(value), batch[1])

    ours_task, plain = fresh(), fresh()
    ours_task.loss = twice
    with worker(tmp_path, ours_task) as ours:
        for batch in batches(3):
            ours.step(batch)
            assert ours.replica.early is None
        assert "the gradient of shared." in capfd.readouterr().out
        flat = Flat(plain.model, CPU)
        with one_thread():
            for batch in batches(3):
                flat.zero()
                twice(plain.model, batch).backward()  # type: ignore[no-untyped-call]
                flat.weights += flat.gather() * -RATE
        assert np.array_equal(ours.flat.weights.numpy(), flat.weights.numpy())
