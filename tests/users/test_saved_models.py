"""model.safetensors is whole: plain PyTorch loads it with `strict=True`, whoever trained it and whatever is in it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from asgd.cli import main
from asgd.drivers.model_file import write_model
from asgd.worker import left
from asgd.worker.device.extras import extras, leave_extras, rest, save_extras
from asgd.worker.device.flat import Flat, layout_of
from tests.users.jobs import MEET, run_spec, write, write_job

pytestmark = pytest.mark.timeout(300)
CPU, NAN = torch.device("cpu"), float("nan")
NET = """
    import torch, torch.nn.functional as F
    from torch import nn

    class Net(nn.Module):
        \"\"\"All that a state_dict may hold beside trained parameters.\"\"\"

        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(6, 4)
            self.norm = nn.BatchNorm1d(4)
            self.scaled = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.words.weight
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.again = nn.Linear(4, 4)
            self.again.weight = self.frozen.weight
            self.coarse = nn.Parameter(torch.ones(3, dtype=torch.bfloat16), requires_grad=False)
            self.register_buffer("steps", torch.tensor(0))
            self.register_buffer("mask", torch.tensor([True, False]))
            self.register_buffer("seen", torch.zeros(2))
            self.register_buffer("also_seen", self.seen)
            self.register_buffer("scratch", torch.ones(5), persistent=False)

        def forward(self, numbers):
            if self.training:
                self.steps += 1
                self.seen += 1
            return self.head(self.again(self.frozen(self.scaled(self.norm(self.words(numbers))))))

    def data():
        numbers = torch.randint(0, 6, (400,))
        return torch.utils.data.TensorDataset(numbers, (numbers + 1) % 6)
"""
TASK = """
    import torch.nn.functional as F
    import asgd
    from net import Net, data

    def task(evaluates):
        def loss(model, batch):
            return F.cross_entropy(model(batch[0]), batch[1])
        def evaluate(model):
            return {"seen": float(model.seen[0])}
        return asgd.Task(model=Net(), loss=loss, data=data(), evaluate=evaluate if evaluates else None)
"""
SCRIPT = """
    import itertools
    import torch, torch.nn.functional as F
    import asgd
    from net import Net, data

    torch.manual_seed(0)
    model = torch.compile(Net(), backend="eager")
    loader = torch.utils.data.DataLoader(data(), batch_size=8, shuffle=True)
    optimizer = asgd.connect(model)
    steps = itertools.count()
    for epoch in optimizer.until_stopped(range(100)):
        for numbers, labels in optimizer.until_stopped(loader):
            if (step := next(steps)) <= 55:
                meet(2, step)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(numbers), labels)
            loss.backward()
            optimizer.step(loss=loss)
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory with the files above; what users' code does to the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("ASGD_SOURCE", "ASGD_JOB_FOLDER"):
        monkeypatch.setenv(name, "")
    write(tmp_path, net=NET, tasks=TASK, script=MEET + SCRIPT)
    yield tmp_path
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def loaded(folder: Path) -> nn.Module:
    """The saved model in a fresh one of plain PyTorch; asserts that nothing is missing, too much or as it was built."""
    torch.manual_seed(7)
    model: nn.Module = runpy.run_path(str(folder / "net.py"))["Net"]()
    built = {name: value.clone() for name, value in model.state_dict().items()}
    path = folder / "out" / "model.safetensors"
    model.load_state_dict(load_file(path), strict=True)
    with safe_open(path, "pt") as file:
        assert file.metadata().get("lacks", "") == ""
    for name in ("words.weight", "frozen.weight", "scaled.parametrizations.weight.original1"):
        assert not torch.equal(model.state_dict()[name], built[name]), name
    assert model.get_parameter("head.weight") is model.get_parameter("words.weight")
    assert torch.equal(model.get_parameter("frozen.weight"), model.get_parameter("again.weight"))
    return model


SPEC = {"stopAfter": {"updates": 130}, "workers": {"replicas": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("evaluates", [True, False], ids=["evaluated", "not evaluated"])
def test_a_tasks_model_loads_strictly_after_asgd_run(in_folder: Path, evaluates: bool) -> None:
    ran = run_spec(in_folder, SPEC | {"entrypoint": "tasks.py:task", "args": {"evaluates": evaluates}})
    assert ran.summary["updates"] >= 130
    model = loaded(in_folder)
    assert model.get_buffer("seen")[0] > 0
    assert not [*(in_folder / "out").glob("extras*")]


@pytest.mark.slow
def test_a_scripts_model_loads_strictly_after_asgd_run_with_what_its_workers_hold(in_folder: Path) -> None:
    ran = run_spec(in_folder, SPEC | {"entrypoint": "script.py", "buffers": "average"})
    assert ran.summary["stopReason"] == "updates"
    model = loaded(in_folder)
    assert model.get_buffer("steps") > 50
    assert 40 <= model.get_buffer("seen")[0] <= 90, "the mean over two workers that share 130 steps"
    assert model.get_buffer("norm.running_mean").abs().sum() > 0
    assert not [*(in_folder / "out").glob("extras*")]


@pytest.mark.slow
def test_a_script_that_goes_on_for_no_step_or_a_few_keeps_the_buffers_and_frozen_parts_of_before(
    in_folder: Path,
) -> None:
    spec = SPEC | {"entrypoint": "script.py"}
    run_spec(in_folder, spec)
    seen = loaded(in_folder).get_buffer("seen")[0]
    assert seen >= 50
    for updates in (130, 133):
        [path.unlink() for path in in_folder.glob("here-*")]
        more = {"stopAfter": {"updates": updates}}
        ran = run_spec(in_folder, spec | more, "--set", "checkpoint.restore=Latest")
        assert ran.summary["updates"] >= updates and "lacks" not in ran.said
        assert loaded(in_folder).get_buffer("seen")[0] == seen


@pytest.mark.parametrize("evaluates", [True, False], ids=["evaluated", "not evaluated"])
@pytest.mark.parametrize("policy", ["local", "average"])
def test_a_tasks_model_loads_strictly_after_asgd_simulate(
    in_folder: Path, evaluates: bool, policy: str
) -> None:
    spec = SPEC | {"entrypoint": "tasks.py:task", "args": {"evaluates": evaluates}, "buffers": policy}
    job = write_job(in_folder, spec)
    assert main(["simulate", str(job), "--output", str(in_folder / "out"), "--quiet"]) == 0
    model = loaded(in_folder)
    assert model.get_buffer("norm.running_mean").abs().sum() > 0
    if not evaluates:
        assert model.get_buffer("steps") > 10


@pytest.mark.parametrize("policy", ["local", "average"])
@pytest.mark.parametrize(
    "mishap", [["--death", "0@2"], ["--death", "0@2+8.5"]], ids=["dead for good", "back for the end"]
)
def test_a_simulated_worker_that_was_not_there_long_enough_has_no_say_in_the_saved_buffers(
    in_folder: Path, policy: str, mishap: list[str]
) -> None:
    spec = SPEC | {"entrypoint": "tasks.py:task", "args": {"evaluates": False}, "buffers": policy}
    job, out = write_job(in_folder, spec), str(in_folder / "out")
    assert main(["simulate", str(job), "--output", out, "--quiet", "--compute", "constant:0.1", *mishap]) == 0
    assert loaded(in_folder).get_buffer("seen")[0] >= 100, "steps of worker 1 alone"


# -- how the files add up --------------------------------------------------------------------------


class Small(nn.Module):
    """A buffer that differs from worker to worker, and a frozen parameter."""

    def __init__(self, seen: float) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.full((2,), seen), requires_grad=False)
        self.register_buffer("seen", torch.full((2,), seen, dtype=torch.float16))
        self.register_buffer("steps", torch.tensor(0 if seen != seen else int(seen)))


@pytest.mark.parametrize(("policy", "seen"), [("local", 1.0), ("recompute", 1.0), ("average", 2.0)])
def test_the_lowest_workers_buffers_are_saved_or_the_mean_and_one_copy_of_frozen_parameters(
    tmp_path: Path, policy: str, seen: float
) -> None:
    path = tmp_path / "extras.safetensors"
    for index in (11, 2):
        model = Small(1.0 if index == 2 else 3.0)
        leave_extras(model, Flat(model, CPU), path, index, 50, 8)
    found = left.gather(path, policy)
    assert found.tensors["seen"].tolist() == [seen, seen]
    assert (found.tensors["seen"].dtype, found.tensors["steps"]) == (np.float16, 1)
    assert found.tensors["frozen"].tolist() == [3.0, 3.0], "whoever came first"
    assert (found.aliases, found.names) == ({}, ["frozen", "seen", "steps"])
    left.sweep(path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("policy", "seen"), [("local", 2.0), ("average", 3.0)])
def test_a_worker_that_joined_shortly_before_the_end_has_no_say_in_the_buffers(
    tmp_path: Path, policy: str, seen: float
) -> None:
    path = tmp_path / "extras.safetensors"
    for index, (steps, value) in enumerate([(1, 1.0), (50, 2.0), (700, 4.0), (49, 8.0)]):
        model = Small(value)
        leave_extras(model, Flat(model, CPU), path, index, steps, 8)
    assert left.gather(path, policy).tensors["seen"].tolist() == [seen, seen]


def test_a_worker_that_the_strategy_rejects_has_no_say_in_the_buffers_unless_there_is_nobody_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "extras.safetensors"
    left_by(path, (60, 1.0), (60, 2.0))
    for rejected, seen in (([0], 2.0), ([1], 1.0), ([0, 1], 1.0)):
        assert left.gather(path, "local", rejected).tensors["seen"].tolist() == [seen, seen]


@pytest.mark.parametrize(("policy", "seen"), [("local", 2.0), ("average", 3.0)])
def test_a_worker_whose_loop_ended_long_before_the_job_has_no_say_in_the_buffers(
    tmp_path: Path, policy: str, seen: float
) -> None:
    path = tmp_path / "extras.safetensors"
    for index, (samples, value) in enumerate([(700, 1.0), (970, 2.0), (1000, 4.0)]):
        model = Small(value)
        leave_extras(model, Flat(model, CPU), path, index, 60, samples)
    assert left.gather(path, policy).tensors["seen"].tolist() == [seen, seen]


def test_with_a_slow_batch_norm_a_worker_needs_more_steps_until_its_buffers_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "extras.safetensors"
    for index, (steps, value) in enumerate([(60, 1.0), (700, 2.0)]):
        model = Small(value)
        model.add_module("norm", nn.BatchNorm1d(2, momentum=0.01))
        leave_extras(model, Flat(model, CPU), path, index, steps, 8)
    assert left.gather(path, "local").tensors["seen"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("policy", ["local", "average"])
def test_of_workers_with_few_steps_the_one_with_the_most_leaves_its_buffers(
    tmp_path: Path, policy: str
) -> None:
    path = tmp_path / "extras.safetensors"
    for index, (steps, value) in enumerate([(0, 1.0), (9, 2.0), (3, 4.0)]):
        model = Small(value)
        leave_extras(model, Flat(model, CPU), path, index, steps, 8)
    assert left.gather(path, policy).tensors["seen"].tolist() == [2.0, 2.0]


def left_by(path: Path, *workers: tuple[int, float]) -> left.Left:
    """What workers leave after (steps) with buffers of (value), all together."""
    for index, (steps, value) in enumerate(workers):
        model = Small(value)
        leave_extras(model, Flat(model, CPU), path, index, steps, 8)
    return left.gather(path, "local")


@pytest.mark.parametrize(
    ("before", "workers", "seen"),
    [
        ((700, 1.0), [], 1.0), ((700, 1.0), [(9, 2.0)], 1.0), ((700, 1.0), [(9, 2.0), (50, 3.0)], 3.0),
        ((9, 1.0), [(8, 2.0)], 1.0), ((9, 1.0), [(10, 2.0)], 2.0), ((9, 1.0), [(0, 2.0), (60, NAN)], 1.0),
    ],
)  # fmt: skip
def test_a_run_that_goes_on_has_its_own_buffers_once_they_count_and_else_those_of_before(
    tmp_path: Path, before: tuple[int, float], workers: list[tuple[int, float]], seen: float
) -> None:
    path, model = tmp_path / "extras.safetensors", tmp_path / "model.safetensors"
    found = left_by(path, before)
    trained = {"line.weight": np.ones((2, 2), np.float32)}
    write_model(model, found.tensors | trained, found.about)
    left.sweep(path)
    left.keep_earlier(model, path)
    found = left_by(path, *workers)
    assert found.tensors["seen"].tolist() == [seen, seen]
    assert found.names == ["frozen", "seen", "steps"] and found.tensors.keys() == {*found.names}
    write_model(model, found.tensors | trained, found.about)
    left.sweep(path)
    assert [*tmp_path.iterdir()] == [model]
    left.keep_earlier(model, path)
    assert left_by(path).tensors["seen"].tolist() == [seen, seen], "and so does the run after it"


def test_a_file_that_is_no_model_of_before_is_passed_over(tmp_path: Path) -> None:
    path, model = tmp_path / "extras.safetensors", tmp_path / "model.safetensors"
    left.keep_earlier(model, path)
    assert left.gather(path, "local").names is None
    for content in (b"", b"nonsense" * 9):
        model.write_bytes(content)
        left.keep_earlier(model, path)
        assert left_by(path, (1, 2.0)).tensors["seen"].tolist() == [2.0, 2.0]
    write_model(model, {"seen": np.ones(2, np.float32)}, {"updates": "7"})
    left.keep_earlier(model, path)
    assert left_by(path, (1, 2.0)).tensors["seen"].tolist() == [2.0, 2.0]


def test_a_worker_whose_buffers_are_nan_has_no_say_in_the_saved_ones(tmp_path: Path) -> None:
    path = tmp_path / "extras.safetensors"
    assert left_by(path, (60, NAN), (60, 2.0)).tensors["seen"].tolist() == [2.0, 2.0]


def test_the_evaluators_file_goes_before_the_workers(tmp_path: Path) -> None:
    path = tmp_path / "extras.safetensors"
    model = Small(1.0)
    flat = Flat(model, CPU)
    leave_extras(model, flat, path, 0, 1, 8)
    model.get_buffer("seen").fill_(9.0)
    save_extras(model, {name for name, _ in flat.layout}, path)
    assert left.gather(path, "local").tensors["seen"].tolist() == [9.0, 9.0]


def test_a_parameter_that_is_frozen_or_unfrozen_in_training_is_saved_once_and_as_the_job_knows_it() -> None:
    model = Small(1.0)
    trained = {name for name, _ in layout_of(model)}
    model.requires_grad_(True)
    model.line.requires_grad_(False)
    assert extras(model, trained).keys() == {"frozen", "seen", "steps"}


def test_what_no_file_of_tensors_holds_is_named_and_leaves_the_rest(tmp_path: Path) -> None:
    class Told(Small):
        def get_extra_state(self) -> object:
            return {"why": "because"}

        def set_extra_state(self, state: object) -> None: ...

    model = Told(1.0)
    flat = Flat(model, CPU)
    path = tmp_path / "extras.safetensors"
    leave_extras(model, flat, path, 0, 1, 8)
    found = left.gather(path, "local")
    assert found.names == sorted(rest(model, [name for name, _ in flat.layout]))
    assert {*found.names} - found.tensors.keys() == {"_extra_state"}


def test_a_full_disk_ends_no_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Small(1.0)
    leave_extras(model, Flat(model, CPU), tmp_path / "nowhere" / "extras.safetensors", 3, 1, 8)
    assert "worker 3: buffers and frozen parameters are not saved: " in capsys.readouterr().out


def test_the_same_model_is_the_same_file_however_much_is_told_about_it(tmp_path: Path) -> None:
    tensors = {"weight": np.ones((2, 3), np.float32), "größe": np.array([1], np.int64)}
    about = {"updates": "7", "job": "mine", "lacks": "a, ü", "more": "x"}
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for path in files:
        write_model(path, tensors, about)
    assert len({path.read_bytes() for path in files}) == 1
    with safe_open(files[0], "np") as file:
        assert {**file.metadata(), "sha256": ""} == {**about, "sha256": ""}
        assert file.get_tensor("größe").tolist() == [1]
