"""Callbacks of a task in a run's own processes: who is told what, and what one that raises does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local.run import Run

TASK = """
import json, os
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
import asgd

class Notes(asgd.Callback):
    def __init__(self, folder, fails):
        self.folder, self.fails = Path(folder), fails

    def note(self, what, moment, **more):
        line = {"what": what, "worker": moment.worker, "pid": os.getpid(), "samples": moment.samples, **more}
        with (self.folder / "told.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\\n")

    def on_start(self, start):
        if self.fails:
            raise RuntimeError("no disk for pictures")
        self.note("start", start)

    def on_step(self, step):
        self.note("step", step, step=step.step, loss=step.loss)

    def on_evaluate(self, evaluation):
        self.note("evaluate", evaluation, metrics=evaluation.metrics, final=evaluation.final)

    def on_checkpoint(self, checkpoint):
        self.note("checkpoint", checkpoint, saved=checkpoint.saved_updates)

    def on_end(self, end):
        self.note("end", end, reason=end.reason)

def task(folder, fails=False):
    x = torch.randn(64, 4)
    return asgd.Task(
        model=nn.Linear(4, 1),
        loss=lambda model, batch: (model(batch[0]) - batch[1]).pow(2).mean(),
        data=TensorDataset(x, x.sum(1, keepdim=True)),
        evaluate=lambda model: {"bias": model.bias.item()},
        callbacks=[Notes(folder, fails)],
    )
"""


def run_of(folder: Path, **args: object) -> Run:
    (folder / "noted.py").write_text(TASK, encoding="utf-8")
    spec = {
        "entrypoint": "noted.py:task",
        "args": {"folder": str(folder), **args},
        "batchSize": 8,
        "stopAfter": {"epochs": 4},
        "workers": {"replicas": 2},
    }
    return Run(folder, spec, "--quiet")


@pytest.mark.slow
def test_workers_tell_their_steps_and_the_evaluator_tells_evaluations_checkpoints_and_its_end(
    tmp_path: Path,
) -> None:
    with run_of(tmp_path) as run:
        assert run.wait() == 0, run.words()
        summary = run.summary()
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    steps = [line for line in told if line["what"] == "step"]
    for worker in {line["worker"] for line in steps}:
        own = [line["step"] for line in steps if line["worker"] == worker]
        assert own == list(range(1, len(own) + 1))
    assert len(steps) >= summary.updates and {line["worker"] for line in steps} <= {0, 1}
    measured = [line for line in told if line["what"] == "evaluate"]
    assert measured[-1]["final"] and measured[-1]["metrics"] == summary.metrics
    saved = [line for line in told if line["what"] == "checkpoint"]
    assert summary.checkpoint and saved[-1]["saved"] == summary.checkpoint.updates
    ends = [line for line in told if line["what"] == "end" and line["worker"] is None]
    assert [line["reason"] for line in ends] == ["epochs"]
    assert {line["pid"] for line in measured + saved} == {ends[0]["pid"]}
    assert ends[0]["pid"] not in {line["pid"] for line in steps}


def test_a_callback_that_raises_in_every_worker_ends_the_run_with_its_name_and_the_user_s_line(
    tmp_path: Path,
) -> None:
    with run_of(tmp_path, fails=True) as run:
        assert run.wait() == 2, run.words()
    last = run.stderr.strip().splitlines()[-1]
    assert "failed in every worker before its first push" in last
    assert "Task.callbacks: Notes.on_start raised RuntimeError: no disk for pictures (noted.py:" in last
