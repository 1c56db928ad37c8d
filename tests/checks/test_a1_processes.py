"""A1 over real processes and sockets: what one worker leaves in the checkpoint is plain SGD in PyTorch, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.worker.reading.order import epoch_order
from asgd.worker.task.build import build_task
from tests.checks.processes import Processes
from tests.effort import first

STEPS, RATE = 200, 0.1


def plain_torch(spec: JobSpec) -> dict[str, F32]:
    """SGD as anybody writes it, on the same order of samples, in the two-step arithmetic."""
    task = build_task(spec)
    data, size = task.data, len(task.data)  # type: ignore[arg-type]
    parameters = dict(task.model.named_parameters())
    order = [i for epoch in range(6) for i in _batches(spec, epoch, size)]
    for rows in order[:STEPS]:
        loss = task.loss(task.model, data.__getitems__(rows))  # type: ignore[union-attr]
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                parameter += gradient * -RATE
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


def _batches(spec: JobSpec, epoch: int, size: int) -> list[list[int]]:
    order = epoch_order(spec.seed, epoch, size).tolist()
    return [order[start : start + spec.batch_size] for start in range(0, size, spec.batch_size)]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lane", first(["shm", "zmq", "tcp"], 0))
def test_200_steps_of_one_worker_on_1_2_and_3_shards_equal_plain_pytorch_sgd_bit_for_bit(
    tmp_path: Path, lane: str
) -> None:
    with ExitStack() as stack, one_thread():
        runs = [
            stack.enter_context(Processes(tmp_path / str(shards), spec(shards, lane))) for shards in (1, 2, 3)
        ]
        for run in runs:
            run.start("worker", 0)
        expected = plain_torch(runs[0].job.spec)
        for run in runs:
            status = run.until(lambda status: status.phase == "finished")
            assert (status.updates, status.stop_reason, status.staleness.max) == (STEPS, "updates", 0)
            assert f" lanes {lane}" in run.logs()
            found = run.model()
            assert found.keys() == expected.keys()
            for name, tensor in expected.items():
                assert np.array_equal(found[name].view(np.uint32), tensor.view(np.uint32)), name


def spec(shards: int, lane: str) -> dict[str, Any]:
    return {
        "entrypoint": "asgd.examples.digits:task",
        "args": {"model": "mlp"},
        "optimizer": {"learningRate": RATE},
        "stopAfter": {"updates": STEPS},
        "workers": {"replicas": 1},
        "exchange": {"lane": lane},
        "parameterServer": {"shards": shards},
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a worker: a sum over two threads is rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
