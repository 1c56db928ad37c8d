"""The worker's path on CUDA is the path on the CPU: `pytest -m gpu` on a machine with one GPU.

NB: written without a GPU at hand, nothing here has ever run; expect the first run to find mistakes, in these tests
as well as in `accelerator.py`. Without CUDA every test is skipped and says so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.accelerator import Staging, choose_device
from asgd.worker.device.backward import backward
from asgd.worker.device.batch_norm import recompute
from asgd.worker.device.flat import Flat
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.sending.overlap import Overlap
from tests.users.jobs import run_spec, write

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]
ON_GPU = {"workers": {"replicas": 2, "devices": {"count": 1}}, "evaluation": {"devices": {"count": 1}}}


def gradient(device: torch.device, loss: Any) -> Tensor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    flat = Flat(model, device)
    batch = torch.randn(8, 1, 8, 8), torch.arange(8)
    backward(Task(model=model, loss=loss, data=[]), flat, device, LeasedBatch(batch, 8))
    return flat.gather().cpu()


def plain_loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def half_loss(model: nn.Module, batch: Any) -> Tensor:
    with torch.autocast("cuda", dtype=torch.bfloat16):
        return plain_loss(model, batch)


def test_a_step_on_the_gpu_gives_the_gradient_of_the_cpu() -> None:
    expected = gradient(torch.device("cpu"), plain_loss)
    torch.testing.assert_close(gradient(choose_device(1, 0), plain_loss), expected, rtol=1e-2, atol=1e-3)


def test_autocast_to_bfloat16_on_the_gpu_pushes_a_float32_gradient_near_the_exact_one() -> None:
    half = gradient(choose_device(1, 0), half_loss)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, gradient(torch.device("cpu"), plain_loss), rtol=0.1, atol=0.02)


def test_workers_share_the_devices_there_are() -> None:
    visible = torch.cuda.device_count()
    assert choose_device(1, visible) == choose_device(1, 0)


def test_vectors_go_through_pinned_memory_there_and_back() -> None:
    device = choose_device(1, 0)
    vector = torch.arange(1_000_000, dtype=torch.float32, device=device)
    out, back = Staging(vector.numel(), device), Staging(vector.numel(), device)
    assert out.tensor.is_pinned()
    for _ in range(10):
        vector += 1  # still under way when it is read
        back.host[:] = out.out(vector)
        arrived = back.on_device()
        back.host[:] = -1  # the network may write here as soon as `on_device` has returned
        assert arrived.device == vector.device
        assert torch.equal(arrived, vector)


def test_batch_norm_is_recomputed_where_the_model_is() -> None:
    device = choose_device(1, 0)
    samples = torch.randn(50, 3) + 5
    task = Task(
        model=nn.BatchNorm1d(3).to(device),
        loss=lambda model, batch: model(batch[0]).mean(),
        data=TensorDataset(samples),
    )
    recompute(task, JobSpec(entrypoint="mine:task", batch_size=10), device)
    torch.testing.assert_close(task.model.running_mean.cpu(), samples.mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ahead", [0, 1])
def test_two_workers_share_one_gpu_and_learn(tmp_path: Path, ahead: int) -> None:
    spec = {"entrypoint": "asgd.examples.digits:task", "stopAfter": {"epochs": 20}, "batchSize": 32}
    rest = {"optimizer": {"learningRate": 0.03}, "exchange": {"ahead": ahead}}
    ran = run_spec(tmp_path, spec | rest | ON_GPU)
    assert ran.summary["metrics"]["accuracy"] > 0.9


def test_a_script_stays_on_the_gpu_where_it_put_its_model(tmp_path: Path) -> None:
    write(
        tmp_path,
        script="""
        import torch, asgd
        model = torch.nn.Linear(3, 1).to("cuda")
        optimizer = asgd.connect(model)
        for _ in optimizer.until_stopped(range(40)):
            optimizer.zero_grad()
            loss = ((model(torch.ones(8, 3, device="cuda")) - 7) ** 2).mean()
            loss.backward()
            optimizer.step(loss=loss)
        print(next(model.parameters()).device.type)
        """,
    )
    ran = run_spec(tmp_path, {"entrypoint": "script.py", "workers": {"replicas": 1, "devices": {"count": 1}}})
    assert ran.summary["loss"] < 10
    assert ran.log("worker-0").strip().endswith("cuda")


def test_a_gradient_is_copied_chunk_by_chunk_while_backward_goes_on() -> None:
    device = choose_device(1, 0)
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(700, 700) for _ in range(8)])
    flat = Flat(model, device)
    overlap = Overlap(flat, 2, Staging(flat.size, device))
    batch = torch.randn(64, 700, device=device)
    for _ in range(5):
        flat.zero()
        loss = model(batch).square().mean()
        overlap.begin()
        value = overlap.loss(loss, 0.0, 1.0)
        with overlap.computing():
            loss.backward()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + 60
        while not overlap.complete:
            assert time.monotonic() < deadline
        assert all(overlap.ready(shard, chunk) for shard in range(2) for chunk in range(8))
        assert torch.equal(torch.from_numpy(overlap.vector), flat.grads.cpu())
        assert value() == float(loss)
    assert overlap.trusted


@pytest.mark.parametrize("overlap", [True, False])
def test_a_large_model_learns_on_the_gpu_with_pushes_that_leave_during_backward(
    tmp_path: Path, overlap: bool
) -> None:
    write(
        tmp_path,
        large="""
        import asgd, torch
        from torch import nn

        def task():
            x = torch.randn(400, 16)
            model = nn.Sequential(nn.Linear(16, 65_000), nn.ReLU(), nn.Linear(65_000, 3))
            data = torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))
            return asgd.Task(model=model, loss=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), data=data)
        """,
    )
    spec = {"entrypoint": "large:task", "stopAfter": {"epochs": 20}, "batchSize": 32}
    rest = {"optimizer": {"learningRate": 0.01}, "exchange": {"overlap": overlap}}
    ran = run_spec(tmp_path, spec | rest | ON_GPU)
    assert ran.summary["loss"] < 1.0
