"""Pipeline stages on GPUs give what one GPU gives: `pytest -m gpu`; with one GPU all stages share it.

NB: written without a GPU at hand, nothing here has ever run. On the CPU the same is proved by `tests/unit/parallel`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.parallel.models import CPU, images, net, pipelined, task, train
from tests.users.jobs import run_spec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]
TWO = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="PyTorch sees fewer than two CUDA devices here"
)
FIRST = [torch.device("cuda", 0)]
BOTH = [torch.device("cuda", 0), torch.device("cuda", 1)]


@pytest.fixture(autouse=True)
def repeatable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """cuDNN and cuBLAS choose other algorithms from call to call unless they are told not to."""
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_three_stages_on_one_gpu_have_the_bits_of_one_stage_there() -> None:
    """Dropout, batch norm, in-place layers and uneven micro-batches, against the same stages' plain loop."""
    assert train(task(net()), 3, FIRST).same_bits(train(task(net()), 1, FIRST))


@TWO
@pytest.mark.parametrize("stages", [2, 3])
def test_stages_on_two_gpus_have_the_bits_of_one_gpu(stages: int) -> None:
    spread, whole = train(task(net()), stages, BOTH), train(task(net()), 1, FIRST)
    assert spread.losses == whole.losses
    for ours, theirs in zip(
        [*spread.gradients, *spread.buffers], [*whole.gradients, *whole.buffers], strict=True
    ):
        assert torch.equal(ours.cpu(), theirs.cpu())


@TWO
def test_each_gpu_holds_its_own_stages_only_and_the_pushed_vector_is_pinned() -> None:
    one = task(net())
    pipeline = pipelined(one, 2, BOTH)
    pipeline.close()
    assert {p.device for p in one.model.parameters()} == set(BOTH)
    assert pipeline.flat.device == CPU
    assert pipeline.flat.weights.is_pinned()
    assert pipeline.flat.grads.is_pinned()


def test_random_numbers_of_the_gpu_go_on_behind_a_batch_as_without_stages() -> None:
    after = []
    for stages in (1, 3):
        train(task(net(), accumulate=1), stages, FIRST, batch=images())
        after.append(torch.rand(3, device=FIRST[0]).tolist())
    assert after[0] == after[1]


@TWO
def test_two_workers_of_two_stages_on_two_gpus_learn(tmp_path: Path) -> None:
    spec = {
        "entrypoint": "asgd.examples.mnist:task",
        "args": {"accumulate": 4},
        "stopAfter": {"epochs": 5},
        "batchSize": 16,
        "optimizer": {"learningRate": 0.03},
        "workers": {"replicas": 2, "devices": {"count": 2}},
    }
    ran = run_spec(tmp_path, spec)
    assert ran.summary["metrics"]["accuracy"] > 0.9
    assert "2 stages (cuda:0, cuda:1)" in ran.log("worker-0")
