"""`asgd.run` as people call it: from a notebook, from an interpreter without a file, from a script; real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.users.jobs import PATIENCE_SECONDS, ROOT

pytestmark = pytest.mark.timeout(300)
TASK = """
import torch, torch.nn.functional as F
from torch import nn
import asgd

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.answer = nn.Linear(width, 2)
    def forward(self, x):
        return self.answer(F.relu(self.layer(x)))

def task(width=8):
    x = torch.randn(400, 4)  # by the job's seed, so alike in all processes
    y = (x.sum(1) > 0).long()
    def loss(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])
    def evaluate(model):
        return {"accuracy": (model(x).argmax(1) == y).float().mean()}
    return asgd.Task(model=Net(width), loss=loss, data=torch.utils.data.TensorDataset(x, y), evaluate=evaluate)
"""


def start(folder: Path, *command: str, stdin: str | None = None) -> subprocess.Popen[str]:
    """Python in `folder`, with the terminal's habit: a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    if stdin is not None:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
    return process


def said_by(process: subprocess.Popen[str]) -> str:
    """What it has printed until its end, which must be a good one."""
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    return said


def until(look: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        if process is not None and process.poll() is not None:
            pytest.fail(f"it ended: {process.communicate()[0]}", pytrace=False)
        time.sleep(0.1)


def updates(output: Path) -> int:
    """In history.jsonl, so far."""
    try:
        lines = (output / "history.jsonl").read_text().splitlines()
        return max(json.loads(line).get("updates", 0) for line in lines)
    except (OSError, ValueError):
        return 0


def processes_of(folder: Path) -> list[str]:
    """Those that work in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_an_interpreter_without_a_file_trains_and_its_runs_folder_alone_is_enough_to_replay_it(
    tmp_path: Path,
) -> None:
    typed = TASK + dedent("""
        run = asgd.run(task, workers=2, shards=2, epochs=4, batch_size=16, args={"width": 6}, output="out")
        print("MODEL", type(run.model()) is Net, tuple(run.model().layer.weight.shape))
        print("RUN", run, run.metrics["accuracy"] > 0.7, run.summary.replayable)
        def wrong():
            raise ValueError("no such data")
        try:
            asgd.run(wrong, quiet=True)
        except asgd.errors.RunFailed as error:
            print("ERROR", error, error.exit_code)
    """)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    said = said_by(start(here, "-", stdin=typed))
    assert "MODEL True (6, 4)" in said
    assert "RUN <asgd.Run task: finished, accuracy" in said and "True True" in said
    assert (
        "ERROR spec.entrypoint: wrong failed: ValueError: no such data (<stdin>:" in said
        and said.endswith(" 2\n")
    )
    assert not [*(here / "runs").iterdir()], "what never began leaves nothing behind"
    shutil.move(here / "out", there / "moved")
    shutil.rmtree(here)
    assert "equal      sha256" in said_by(start(there, "-m", "asgd.cli", "replay", str(there / "moved")))


@pytest.mark.slow
def test_a_notebook_trains_what_its_cells_define_and_stays_small(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=PATIENCE_SECONDS, kernel_name="python3", resources=resources).execute()
    outputs = {
        cell.source.partition("(")[0]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"
    }
    shown = outputs["run = asgd.run"]
    assert [output.output_type for output in shown] == ["display_data", "stream"], (
        "one display and the last lines"
    )
    assert "digits · asgd · finished (epochs)" in shown[0].data["text/plain"]
    assert shown[1].text.startswith("reached    accuracy 0.") and len(shown[1].text.splitlines()) < 10
    assert outputs["run"][0].data["image/png"] and "finished" in outputs["run"][0].data["text/plain"]
    assert "<table" in outputs['run.history[["seconds", "updates", "accuracy"]].dropna'][0].data["text/html"]
    assert outputs["model = run.model"][0].text.startswith("True [")
    assert outputs["asgd.replay"][0].data["text/plain"] == "True"


@pytest.mark.slow
def test_a_guarded_script_runs_in_the_background_stops_and_simulates(tmp_path: Path) -> None:
    (tmp_path / "apart.py").write_text(TASK)
    (tmp_path / "careless.py").write_text(
        "import apart, asgd\n\ndef task():\n    return apart.task()\n\nif 'x' not in globals():\n    asgd.run(task)\n"
    )
    script = """
        import sys, time
        import asgd
        from apart import task

        if __name__ == "__main__":
            run = asgd.run(task, workers=2, epochs=100000, learning_rate=0.01, output="out", wait=False)
            while not (run.status and run.status.updates > 20):
                time.sleep(0.05)
            print("GOES ON", run.done, run.summary, "running" in repr(run))
            run.stop()
            print("STOPPED", run.done, run.summary.stop_reason, len(run.state_dict()), run.report().name)
            simulated = asgd.simulate(task, workers=3, updates=60, straggler=["0:4"], quiet=True)
            print("SIMULATED", simulated.summary.updates >= 60, simulated.history["seconds"].max() > 1)
            sys.modules["careless"] = __import__("types").ModuleType("careless")
            try:
                asgd.run({"entrypoint": "careless.py:task"}, quiet=True)
            except asgd.errors.RunFailed as error:
                print("REFUSED", error)
    """
    (tmp_path / "train.py").write_text(dedent(script))
    said = said_by(start(tmp_path, "train.py"))
    assert "GOES ON False None True" in said
    assert "STOPPED True interrupted 4 report.html" in said
    assert "entrypoint: apart:task" in (tmp_path / "out" / "job.yaml").read_text(), "by name"
    assert not (tmp_path / "out" / "asgd_sent.py").exists()
    assert "SIMULATED True True" in said
    assert "REFUSED asgd.run: this is a process of a run, which imports the module that calls it" in said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_a_scripts_run_is_stopped_and_saved_by_one_ctrl_c_and_by_the_scripts_own_end(
    how: str, tmp_path: Path
) -> None:
    script = TASK + 'print(asgd.run(task, workers=2, epochs=100000, learning_rate=0.01, output="out"))\n'
    (tmp_path / "train.py").write_text(script)
    process = start(tmp_path, "train.py")
    output = tmp_path / "out"
    until(lambda: updates(output) > 20, process)
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert "<asgd.Run task: interrupted, " in said_by(process)
    else:
        process.kill()
        process.communicate()
        until(lambda: (output / "model.safetensors").exists() and not processes_of(tmp_path))
    assert json.loads((output / "summary.json").read_text())["stopReason"] == "interrupted"
    until(lambda: not processes_of(tmp_path))
