"""`asgd.connect()`: plain PyTorch scripts as asynchronous workers, and what a person hears when a script is wrong."""

from __future__ import annotations

import argparse
import difflib
import json
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from asgd import session
from asgd.errors import UserError
from asgd.host.env import ProcessConfig
from asgd.spec import load_job
from asgd.spec.types import JobSpec, StopAfter
from asgd.worker.task.check import look
from asgd.worker.task.script import arguments, run_script
from tests.users.jobs import ROOT, run, run_spec, write
from tests.users.pages import write_files

pytestmark = pytest.mark.timeout(300)
SCRIPTS = ROOT / "examples" / "scripts"
PAGE = ROOT / "docs" / "how-to" / "own-loop.md"
UPDATES = StopAfter(updates=10)


def changed_lines() -> list[str]:
    plain, changed = ((SCRIPTS / f"train_{kind}.py").read_text().splitlines() for kind in ("plain", "async"))
    return [line for line in difflib.ndiff(plain, changed) if line[0] in "+-"]


def test_a_plain_script_becomes_asynchronous_in_at_most_four_changed_lines() -> None:
    lines = changed_lines()
    assert sum(line[0] == "+" for line in lines) <= 4
    assert sum(line[0] == "-" for line in lines) <= 4
    for page in (PAGE, ROOT / "README.md"):
        shown = page.read_text().partition("```diff\n")[2].partition("```")[0].splitlines()
        assert [line[0] + line[2:] for line in lines] == shown, page


def test_the_example_trains_from_any_directory_and_leaves_its_accuracy_in_the_logs(tmp_path: Path) -> None:
    ran = run(ROOT / "examples" / "script.yaml", tmp_path, "--set", "workers.replicas=2")
    assert (ran.summary["stopReason"], ran.summary["samples"]) == ("epochs", 40 * 1437)
    assert ran.summary["loss"] < 0.3
    accuracy = float(ran.log("worker-0").rpartition("test accuracy ")[2])
    assert accuracy > 0.9


@pytest.mark.slow
def test_the_page_on_own_loops_does_what_it_says(tmp_path: Path) -> None:
    write_files(PAGE, tmp_path)
    ran = run(tmp_path / "job.yaml", tmp_path)
    assert ran.summary["stopReason"] == "metric"
    assert ran.summary["metrics"]["accuracy"] >= 0.88
    saved = torch.load(tmp_path / "worker-0.pt", weights_only=True)
    assert saved["0.weight"].shape == (48, 64)


@pytest.mark.slow
def test_closures_compiled_models_and_schedulers_work_and_the_job_ends_with_its_loops(tmp_path: Path) -> None:
    write(
        tmp_path,
        odd="""
        import sys, torch, asgd
        import helper
        model = torch.compile(torch.nn.Linear(3, 1), backend="aot_eager")
        optimizer = asgd.connect(model)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
        def closure():
            optimizer.zero_grad(set_to_none=True)
            loss = helper.loss(model(torch.ones(8, 3)))
            loss.backward()
            return loss
        losses = []
        for step in range(30):
            losses.append(optimizer.step(closure).item())
            rate = optimizer.param_groups[0]["lr"]
            scheduler.step()
        print("rate", rate, "fell", losses[-1] < 0.01 * losses[0])
        sys.exit(0)
        """,
        helper="def loss(y): return ((y - 7) ** 2).mean()\n",
    )
    spec = {"entrypoint": "odd.py", "optimizer": {"learningRate": 0.05}, "stopAfter": {"updates": 9999}}
    ran = run_spec(tmp_path, spec)
    assert (ran.summary["stopReason"], ran.summary["updates"]) == ("ended", 30)
    assert "rate 0.05 fell True" in ran.log("worker-0")
    assert ran.log("worker-0").count("spec.optimizer.learningRate") == 1


@pytest.mark.slow
def test_a_script_that_goes_on_after_the_end_of_the_job_is_ended_by_its_next_step(tmp_path: Path) -> None:
    write(
        tmp_path,
        endless="""
        import torch, asgd
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        while True:
            optimizer.zero_grad()
            model(torch.ones(8, 3)).mean().backward()
            optimizer.step()
        """,
    )
    summary = run_spec(tmp_path, {"entrypoint": "endless.py", "stopAfter": {"updates": 20}}).summary
    assert (summary["stopReason"], summary["updates"], summary["restarts"].get("worker", 0)) == (
        "updates",
        20,
        0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("enough", [False, True])
def test_a_script_that_is_busy_after_its_loop_is_waited_for_and_nobody_is_stopped_without_a_word(
    tmp_path: Path, enough: bool
) -> None:
    write(
        tmp_path,
        busy="""
        import time, torch, asgd
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        while not optimizer.stopped:
            optimizer.zero_grad()
            model(torch.ones(8, 3)).mean().backward()
            optimizer.step()
        time.sleep(10)
        open("mine.txt", "w").write("done")
        """,
    )
    workers = {"replicas": 1, "drainSeconds": 60 if enough else 3}
    ran = run_spec(tmp_path, {"entrypoint": "busy.py", "stopAfter": {"updates": 20}, "workers": workers})
    stopped = "warning: worker-0 did not end within 3 s (spec.workers.drainSeconds) when the job was over"
    assert (stopped in ran.said, (tmp_path / "mine.txt").exists()) == (not enough, enough)
    assert ("the job is over; worker-0 may take 3 s to end (spec.workers.drainSeconds)" in ran.said) != enough


@pytest.mark.slow
def test_warnings_of_imports_loops_and_torch_are_said_on_the_terminal_once_for_all_workers(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        warns="""
        import logging, warnings
        import helper, torch, asgd
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        for step in range(5):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(torch.ones(8, 3)), torch.zeros(8))
            loss.backward()
            optimizer.step(loss=loss)
            logging.warning("a row was left out")
        """,
        helper="import warnings\nwarnings.warn('an old helper')\n",
    )
    ran = run_spec(tmp_path, {"entrypoint": "warns.py", "workers": {"replicas": 2}}, "--quiet")
    said = [line for line in ran.said.splitlines() if line.startswith("warning: ")]
    assert "warning: UserWarning: an old helper (helper.py:2)" in said
    assert "warning: a row was left out (warns.py:11)" in said
    (torchs,) = [line for line in said if "target size" in line]
    assert torchs.startswith("warning: UserWarning: Using a target size (torch.Size([8])) that is different")
    assert len(said) == len({*said}) == 3
    assert "a row was left out" in ran.log("worker-0") and "a row was left out" in ran.log("worker-1")


@pytest.mark.slow
def test_a_script_that_never_connects_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, plain="import asgd\nprint('trained alone')\n")
    ran = run_spec(tmp_path, {"entrypoint": "plain.py"})
    assert ran.code == 2
    assert ran.said.splitlines()[-1] == (
        "asgd: spec.entrypoint: plain.py ended without calling asgd.connect(model)"
    )


@pytest.mark.slow
def test_a_script_that_crashes_in_training_is_restarted_and_then_named_with_its_own_words(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        crash="""
        import torch, asgd
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        model(torch.ones(8, 3)).mean().backward()
        optimizer.step()
        raise ZeroDivisionError("the third wheel")
        """,
    )
    workers = {"replicas": 1, "backoffLimitPerIndex": 1}
    ran = run_spec(tmp_path, {"entrypoint": "crash.py", "workers": workers})
    assert ran.code == 75
    last = ran.said.splitlines()[-1]
    assert last.startswith("asgd: ")
    assert "ZeroDivisionError: the third wheel" in last
    assert ran.log("worker-0").count('crash.py", line 7, in <module>') == 2


@pytest.mark.slow
def test_a_script_whose_first_step_fails_in_every_worker_ends_the_run_at_once_with_its_line(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        shapes="""
        import torch, asgd
        data = torch.utils.data.TensorDataset(torch.ones(640, 4))
        loader = torch.utils.data.DataLoader(data, batch_size=8)
        model = torch.nn.Linear(3, 1)
        optimizer = asgd.connect(model)
        for (batch,) in optimizer.until_stopped(loader):
            optimizer.zero_grad()
            model(batch).mean().backward()
            optimizer.step()
        """,
    )
    ran = run_spec(tmp_path, {"entrypoint": "shapes.py", "workers": {"replicas": 2}})
    assert ran.code == 2, ran.said
    last = ran.said.strip().splitlines()[-1]
    assert last.startswith(
        "asgd: spec.entrypoint: shapes.py failed in every worker before its first push: RuntimeE"
    )
    assert last.endswith("(shapes.py:9)") and "Traceback" not in ran.said
    told = [ran.log(f"worker-{index}").count('shapes.py", line 9, in <module>') for index in (0, 1)]
    assert sum(told) <= 4, "each worker has failed once or twice, not seven times"


@pytest.mark.slow
def test_batch_norm_that_meets_one_sample_ends_the_run_at_once_and_drop_last_mends_it(tmp_path: Path) -> None:
    text = """
        import torch, asgd
        from torch import nn
        data = torch.utils.data.TensorDataset(torch.randn(321, 4))
        loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, drop_last=LAST)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = asgd.connect(model)
        for epoch in optimizer.until_stopped(range(2)):
            for (batch,) in optimizer.until_stopped(loader):
                optimizer.zero_grad()
                model(batch).pow(2).mean().backward()
                optimizer.step()
        """
    spec = {"entrypoint": "lone.py", "workers": {"replicas": 2}, "stopAfter": {"epochs": 2}}
    write(tmp_path, lone=text.replace("LAST", "False"))
    ran = run_spec(tmp_path, spec)
    assert ran.code == 2, ran.said
    last = ran.said.strip().splitlines()[-1]
    assert "batch norm has met a batch of 1 sample, as in plain PyTorch" in last and "drop_last=True" in last
    assert "(lone.py:11)" in last and "it starts again" not in ran.said
    shutil.rmtree(ran.output, ignore_errors=True)
    write(tmp_path, lone=text.replace("LAST", "True"))
    assert run_spec(tmp_path, spec).summary["stopReason"] == "epochs"


# -- without a run ---------------------------------------------------------------------------------


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    return tmp_path


def config(spec: JobSpec) -> ProcessConfig:
    """A worker's part of a job that has no server: whoever joins would wait in vain."""
    job = msgspec.structs.replace(load_job(ROOT / "examples" / "script.yaml"), spec=spec)
    return ProcessConfig(job, 0, (), "", None, "", "", None, None, "", "", 1.0, 1)


def test_what_a_script_raises_before_it_connects_is_told_with_its_line(in_folder: Path) -> None:
    write(in_folder, early="import torch\n\nopen('nowhere')\n")
    with pytest.raises(UserError) as refusal:
        run_script(config(JobSpec(entrypoint="early.py", stop_after=UPDATES)))
    assert str(refusal.value) == (
        "spec.entrypoint: early.py failed before it called asgd.connect(): FileNotFoundError: [Errno 2]"
        " No such file or directory: 'nowhere' (early.py:3)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("for:\n", "early.py is no Python script: SyntaxError: invalid syntax (early.py:1)"),
        (None, "no file early.py in "),
    ],
)
def test_a_script_is_read_before_anything_starts(in_folder: Path, text: str | None, words: str) -> None:
    if text:
        write(in_folder, early=text)
    with pytest.raises(UserError, match=r"^spec\.entrypoint: ") as refusal:
        look(JobSpec(entrypoint="early.py", stop_after=UPDATES))
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("import torch\nprint('alone')\n", True),
        ("from torch import nn\nimport os.path, json\n", True),
        ("def main():\n    import asgd\n", False),
        ("from asgd import connect\n", False),
        ("import mine\n", False),
        ("import nowhere_to_be_found\n", False),
        ("import importlib\nimportlib.import_module('as' + 'gd')\n", False),
        ("exec(open('more').read())\n", False),
    ],
)
def test_a_script_that_can_not_know_of_asgd_is_refused_before_it_trains_alone(
    in_folder: Path, text: str, refused: bool
) -> None:
    write(in_folder, alone=text, mine="import asgd\n")
    spec = JobSpec(entrypoint="alone.py", stop_after=UPDATES)
    if refused:
        with pytest.raises(UserError, match=r"alone.py does not import asgd, so it would train alone"):
            look(spec)
    else:
        assert look(spec).script


def test_epochs_of_a_scripts_own_data_are_allowed_before_it_has_run(in_folder: Path) -> None:
    write(in_folder, fine="import asgd\n")
    assert look(JobSpec(entrypoint="fine.py", stop_after=StopAfter(epochs=20))).script


def test_a_script_started_by_python_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGD_JOB", raising=False)
    with pytest.raises(UserError, match=r"start the script by `asgd run JOB\.yaml`"):
        session.connect(nn.Linear(1, 1))


def test_args_reach_a_script_as_a_command_line() -> None:
    args = {"name": "a b", "rate": 0.5, "fast": True, "slow": False, "none": None, "more": {"a": [1]}}
    assert arguments(args) == ["--name=a b", "--rate=0.5", "--fast", '--more={"a": [1]}']


def test_lists_in_args_reach_argparse_as_lists_whatever_stands_around_them() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--betas", type=float, nargs=2)
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--none", nargs="*")
    parser.add_argument("--cuts", type=json.loads, nargs="+")
    parser.add_argument("--fast", action="store_true")
    given = {
        "layers": [64, 32], "betas": [0.9, -1.5], "fast": True, "names": ["a b", "c"], "none": [],
        "cuts": [[1, 2], {"a": 3}, True],
    }  # fmt: skip
    assert vars(parser.parse_args(arguments(given))) == given
