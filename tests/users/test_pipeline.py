"""Pipeline stages as a user sees them: the same model file to the bit, both parallelisms at once, clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.users.jobs import ROOT, run, run_spec, write, write_job
from tests.users.pages import write_files

pytestmark = pytest.mark.timeout(300)
PAGE = ROOT / "docs" / "how-to" / "pipeline.md"
TASKS = """
    import torch, torch.nn.functional as F
    from torch import nn
    import asgd

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.norm, self.last = nn.Linear(16, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

        def forward(self, x):
            return self.last(F.dropout(torch.relu(self.norm(self.inside(x))), 0.2, self.training))

    class Upper(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.last = net.last

        def forward(self, x):
            return self.last(F.dropout(torch.relu(x), 0.2, self.training))

    def task(cut=True):
        net, x = Net(), torch.randn(200, 16)

        def loss(model, batch):
            return F.cross_entropy(model(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[1])

        return asgd.Task(model=net, loss=loss, accumulate=4, evaluate=lambda model: {"sum": model(x).sum()},
                         stages=[nn.Sequential(net.inside, net.norm), Upper(net)] if cut else None,
                         data=torch.utils.data.TensorDataset(x, torch.arange(200) % 3))
"""


def model_file(folder: Path, stages: int) -> dict[str, bytes]:
    """Bytes of each tensor of the model file. NB: safetensors shuffles the metadata before them."""
    folder.mkdir()
    write(folder, tasks=TASKS)
    spec: dict[str, Any] = {
        "entrypoint": "tasks.py:task", "stopAfter": {"updates": 60}, "batchSize": 32,
        "workers": {"replicas": 1, "stages": stages},
    }  # fmt: skip
    ran = run_spec(folder, spec)
    assert ran.summary["updates"] == 60
    assert ("2 stages (cpu, cpu)" in ran.log("worker-0")) == (stages == 2)
    tensors = load_file(ran.output / "model.safetensors")
    assert "norm.running_mean" in tensors
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


@pytest.mark.slow
def test_a_whole_run_in_two_stages_leaves_the_model_file_of_one_to_the_bit(tmp_path: Path) -> None:
    """With dropout, noise drawn in the loss, and batch norm's running means, which are in the file too."""
    assert model_file(tmp_path / "two", 2) == model_file(tmp_path / "one", 1)


@pytest.mark.slow
def test_the_example_trains_by_model_and_data_parallelism_at_once(tmp_path: Path) -> None:
    ran = run(ROOT / "examples" / "pipeline.yaml", tmp_path)
    assert ran.summary["metrics"]["accuracy"] >= 0.955
    assert ran.summary["workers"] == 3
    for worker in range(3):
        assert "2 stages (cpu, cpu)" in ran.log(f"worker-{worker}")


@pytest.mark.slow
def test_the_page_on_pipelines_does_what_it_says(tmp_path: Path) -> None:
    write_files(PAGE, tmp_path)
    ran = run(tmp_path / "job.yaml", tmp_path)
    assert ran.summary["metrics"]["accuracy"] > 0.8
    assert "2 stages (cpu, cpu)" in ran.log("worker-1")


@pytest.mark.parametrize(
    ("args", "stages", "words"),
    [
        ({}, 3, "spec.workers.stages: 3, but Task.stages has 2 layers; allowed: 1 to 2"),
        ({"cut": False}, 2, "spec.workers.stages: 2, but Task.model is a Net, which cannot be cut by itself"),
    ],
)
@pytest.mark.slow
def test_a_model_that_cannot_be_cut_so_ends_the_command_before_anything_starts(
    tmp_path: Path, args: dict[str, Any], stages: int, words: str
) -> None:
    write(tmp_path, tasks=TASKS)
    job = write_job(
        tmp_path, {"entrypoint": "tasks.py:task", "args": args, "workers": {"replicas": 1, "stages": stages}}
    )
    ran = run(job, tmp_path)
    assert ran.code == 2
    assert ran.said.count("asgd: ") == 1
    assert words in ran.said
    assert "Traceback" not in ran.said


def test_a_script_cannot_be_cut(tmp_path: Path) -> None:
    write(tmp_path, script="import asgd\n")
    job = write_job(tmp_path, {"entrypoint": "script.py", "workers": {"replicas": 1, "stages": 2}})
    ran = run(job, tmp_path)
    assert ran.code == 2
    assert "spec.workers.stages: 2, but a script computes its gradients itself; allowed: 1" in ran.said
