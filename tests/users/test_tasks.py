"""Users' tasks from their files to what a run leaves, and what a person hears when one is wrong."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from asgd.errors import UserError
from asgd.spec.types import JobSpec
from asgd.worker.device.backward import backward
from asgd.worker.device.flat import Flat
from asgd.worker.left import LEAST_STEPS
from asgd.worker.reading.data import open_batches
from asgd.worker.task.build import build_task
from asgd.worker.task.check import look
from tests.users.jobs import ROOT, run, run_spec, write, write_job
from tests.users.pages import write_files

pytestmark = pytest.mark.timeout(300)
PAGE = ROOT / "docs" / "how-to" / "task.md"
WHOLE = """
    import torch, torch.nn.functional as F
    from torch import nn
    import asgd

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(4, 4, bias=False)
            self.norm = nn.BatchNorm1d(4)
            self.tied = nn.Linear(4, 4, bias=False)
            self.tied.weight = self.inside.weight
            self.frozen = nn.Linear(4, 1).requires_grad_(False)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            if self.training:
                self.seen += 1
            return self.frozen(self.tied(torch.relu(self.norm(self.inside(x))))).squeeze(1)

    def task():
        x = torch.randn(400, 4)

        def loss(model, batch):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return F.mse_loss(model(batch[0]), batch[1])

        def evaluate(model):
            assert not model.training and not torch.is_grad_enabled()
            mean = model.norm.running_mean.abs().sum()
            return {"mean": mean, "seen": model.seen, "test_loss": F.mse_loss(model(x), x.sum(1))}

        return asgd.Task(model=torch.compile(Net(), backend="eager"), loss=loss, accumulate=2,
                         evaluate=evaluate,
                         data=torch.utils.data.TensorDataset(x, x.sum(1)))
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in; what users' code does to the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("ASGD_SOURCE", "ASGD_WORKER_INDEX", "ASGD_WORKERS"):
        monkeypatch.setenv(name, "")
    yield tmp_path
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.slow
def test_a_compiled_half_precision_model_with_tied_and_frozen_parts_is_saved_whole(in_folder: Path) -> None:
    write(in_folder, whole=WHOLE)
    ran = run_spec(
        in_folder,
        {
            "entrypoint": "whole.py:task",
            "buffers": "average",
            "stopAfter": {"updates": 200},
            "workers": {"replicas": 2},
        },
    )
    assert ran.summary["metrics"]["mean"] > 0
    assert ran.summary["metrics"]["seen"] >= 2 * LEAST_STEPS, (
        "workers' own buffers, not those that were built"
    )
    path = ran.output / "model.safetensors"
    model = build_task(JobSpec(entrypoint="whole.py:task")).model._orig_mod  # type: ignore[union-attr]
    built = model.inside.weight.detach().clone()
    frozen = model.frozen.weight.detach().clone()
    model.load_state_dict(load_file(path), strict=True)
    assert not torch.equal(model.inside.weight, built)
    assert torch.equal(model.tied.weight, model.inside.weight)
    assert torch.equal(model.frozen.weight, frozen)
    assert float(model.norm.running_mean.abs().sum()) == pytest.approx(ran.summary["metrics"]["mean"])
    with safe_open(path, "pt") as file:
        assert file.metadata()["lacks"] == ""


@pytest.mark.slow
def test_the_page_on_tasks_trains_and_its_saved_model_loads(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(PAGE, in_folder)
    ran = run(in_folder / "job.yaml", in_folder)
    assert ran.summary["stopReason"] == "epochs"
    assert ran.summary["metrics"]["accuracy"] > 0.8
    assert {"accuracy", "test_loss"} == set(ran.summary["metrics"])
    monkeypatch.syspath_prepend(in_folder)
    runpy.run_path("load.py")


@pytest.mark.parametrize(
    ("name", "args"),
    [("half", {}), ("compiled", {"backend": "aot_eager"}), ("own", {}), ("streamed", {}), ("weighted", {})],
)
def test_every_other_task_of_the_page_gives_a_gradient(
    in_folder: Path, name: str, args: dict[str, Any]
) -> None:
    write_files(PAGE, in_folder)
    spec = JobSpec(entrypoint=f"tasks.py:{name}", args=args)
    task = build_task(spec)
    flat = Flat(task.model, torch.device("cpu"))
    leases = iter([(0, 0, 32)])
    item = next(open_batches(task, spec, 0, lambda: next(leases, None)))
    loss = backward(task, flat, torch.device("cpu"), item)
    assert loss > 0
    assert flat.gather().abs().sum() > 0


@pytest.mark.slow
def test_a_stream_with_loader_processes_trains_from_a_file_beside_the_job(in_folder: Path) -> None:
    """The command runs in another directory; one module stands in spec.source. A task without `evaluate`."""
    beside = in_folder / "beside"
    elsewhere = in_folder / "elsewhere"
    beside.mkdir()
    elsewhere.mkdir()
    write(
        beside,
        stream="""
        import torch, asgd
        from torch.utils.data import IterableDataset, get_worker_info
        from truth import TRUTH

        class Numbers(IterableDataset):
            def __iter__(self):
                assert get_worker_info().num_workers == 2
                for _ in range(200):
                    x = torch.randn(3)
                    yield x, x @ torch.tensor(TRUTH)

        class Line(torch.nn.Linear):
            def __init__(self, width):
                super().__init__(width, 1)
                self.register_buffer("seen", torch.zeros(1))

        def task(width):
            loss = lambda model, batch: ((model(batch[0]).squeeze(1) - batch[1]) ** 2).mean()
            return asgd.Task(model=Line(width), loss=loss, data=Numbers(), data_workers=2)
        """,
    )
    spec = {
        "entrypoint": "stream.py:task",
        "args": {"width": 3},
        "source": {"truth.py": "TRUTH = [1.0, -2.0, 3.0]\n"},
        "stopAfter": {"updates": 150},
    }
    ran = run(write_job(beside, spec), elsewhere)
    assert ran.summary["stopReason"] == "updates"
    saved = load_file(ran.output / "model.safetensors")
    weight = saved["weight"]
    torch.testing.assert_close(weight, torch.tensor([[1.0, -2.0, 3.0]]), rtol=0.05, atol=0.05)
    assert saved.keys() == {"weight", "bias", "seen"}


@pytest.mark.slow
def test_a_number_of_threads_that_a_module_sets_when_it_is_imported_goes_before_the_jobs(
    in_folder: Path,
) -> None:
    write(
        in_folder,
        threads="""
        import torch, asgd
        torch.set_num_threads(1)
        def loss(model, batch):
            assert torch.get_num_threads() == 1
            return model(batch).mean()
        def task():
            return asgd.Task(model=torch.nn.Linear(1, 1), loss=loss, data=torch.zeros(9, 1))
        """,
    )
    ran = run_spec(in_folder, {"entrypoint": "threads:task", "workers": {"replicas": 1, "threads": 3}})
    assert (ran.summary["stopReason"], ran.summary["restarts"].get("worker", 0)) == ("updates", 0)


@pytest.mark.slow
def test_an_exception_in_training_is_retried_and_then_ends_the_run_with_its_message(in_folder: Path) -> None:
    write(
        in_folder,
        crash="""
        import torch, asgd
        def task():
            seen = []
            def loss(model, batch):
                seen.append(batch)
                if len(seen) > 2: raise LookupError("no such word")
                return model(batch).mean()
            return asgd.Task(model=torch.nn.Linear(1, 1), loss=loss, data=torch.zeros(9, 1))
        """,
    )
    workers = {"replicas": 1, "backoffLimitPerIndex": 1}
    ran = run_spec(in_folder, {"entrypoint": "crash:task", "workers": workers})
    assert ran.code == 75
    assert "LookupError: no such word" in ran.said.splitlines()[-1]
    assert ran.log("worker-0").count('crash.py", line 7, in loss') == 2


def test_a_task_that_fails_where_no_check_could_see_it_ends_the_run_at_once_with_its_line(
    in_folder: Path,
) -> None:
    write(
        in_folder,
        unseen="""
        import os, torch, asgd
        class Data(torch.utils.data.Dataset):
            def __len__(self): return 640
            def __getitem__(self, index):
                if torch.utils.data.get_worker_info(): raise LookupError("no such word")
                return torch.zeros(1)
        def task():
            loss = lambda model, batch: model(batch).mean()
            return asgd.Task(model=torch.nn.Linear(1, 1), loss=loss, data=Data(), data_workers=1)
        """,
    )
    ran = run_spec(in_folder, {"entrypoint": "unseen:task", "workers": {"replicas": 2}})
    assert ran.code == 2, ran.said
    assert ran.said.strip().splitlines()[-1] == (
        "asgd: spec.entrypoint: unseen:task failed in every worker before its first push: LookupError: no such word"
        " (unseen.py:6)"
    )
    assert ran.said.count("it starts again") <= 2


# -- without a run ---------------------------------------------------------------------------------

GOOD = "import torch, asgd\n\ndef task():\n    return asgd.Task("


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        ("import torch\nx = 1 / 0\n", {}, "spec.entrypoint: importing mine.py failed: ZeroDivisionError: division"
         " by zero (mine.py:2)"),
        ("def task(:\n", {}, "spec.entrypoint: importing mine.py failed: SyntaxError: invalid syntax (mine.py:1)"),
        ("import nothing\n", {}, "spec.entrypoint: importing mine.py failed: ModuleNotFoundError: No module named"
         " 'nothing' (mine.py:1)"),
        ("import sys\nsys.exit('bye')\n", {}, "spec.entrypoint: importing mine.py failed: SystemExit: bye"
         " (mine.py:2)"),
        ("def other(): pass\n", {}, "spec.entrypoint: mine.py has no 'task'; it has other"),
        ("task = 3\n", {}, "spec.entrypoint: mine.py:task is int, not a callable"),
        ("def task():\n    return 3\n", {}, "spec.entrypoint: mine.py:task returned int; it must return an asgd.Task"),
        ("import torch\ndef task():\n    torch.ones(2) @ torch.ones(3)\n", {}, "spec.entrypoint: mine.py:task failed:"
         " RuntimeError: inconsistent tensor size, expected tensor [2] and src [3] to have the same number of"
         " elements, but got 2 and 3 elements respectively (mine.py:3)"),
        ("def task(width=3): pass\n", {"args": {"widht": 4}}, "spec.args: got an unexpected keyword argument 'widht';"
         " mine.py:task takes width"),
        (GOOD + "model=3, loss=None, data=[])\n", {}, "spec.entrypoint: mine.py:task: Task.model is int; allowed: a"
         " torch.nn.Module"),
        (GOOD + "model=torch.nn.Linear(1, 1).double(), loss=None, data=[1])\n", {}, "spec.entrypoint: the model's"
         " parameter weight is float64; allowed: float32, bfloat16, float16 (model.float() makes it float32)"),
        ("", {"entrypoint": "not_there:task"}, "spec.entrypoint: no module named 'not_there' in "),
        ("", {"entrypoint": "not_there.py:task"}, "spec.entrypoint: no file not_there.py in "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_task_is_said_in_one_sentence_before_anything_starts(
    in_folder: Path, text: str, spec: dict[str, Any], words: str
) -> None:
    (in_folder / "mine.py").write_text(text)
    with pytest.raises(UserError) as refusal:
        look(JobSpec(**({"entrypoint": "mine.py:task"} | spec)))
    assert str(refusal.value).startswith(words)
    assert "\n" not in str(refusal.value)


def test_a_callable_may_be_a_method_and_a_file_may_be_called_like_a_loaded_module(in_folder: Path) -> None:
    made = "class Make:\n    @staticmethod\n    def task():\n        return asgd.Task(model=torch.nn.Linear(1, 1),"
    (in_folder / "types.py").write_text(f"import asgd, torch\n{made} loss=None, data=[1])\n")
    assert isinstance(build_task(JobSpec(entrypoint="types.py:Make.task")).model, torch.nn.Linear)
