"""The code of docs/how-to/hooks-and-loggers.md is a task and a job that stand the checks, as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asgd.callbacks import Evaluation, Step
from asgd.spec import load_job
from asgd.worker.task.build import build_task
from asgd.worker.task.measuring import measured
from tests.users.pages import write_files

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "hooks-and-loggers.md"


def test_the_page_s_task_is_told_of_steps_and_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(PAGE, tmp_path)
    monkeypatch.setenv("ASGD_JOB_FOLDER", str(tmp_path))
    job = load_job(tmp_path / "logged.yaml")
    assert job.spec.logging[0].tensorboard is not None
    with torch.random.fork_rng():
        task = build_task(job.spec)
    (notes,) = task.callbacks
    common = {"job": "j", "model": task.model, "workers": 2, "updates": 7, "samples": 64, "epochs": 2.0}
    notes.on_step(Step(**common, worker=0, step=100, loss=0.5, learning_rate=0.1))
    notes.on_evaluate(Evaluation(**common, worker=None, metrics=measured(task), final=True))
    said = capsys.readouterr().out
    assert "step 100 of worker 0, epoch 2.0 of the job: loss 0.500" in said
    assert "after 7 updates: {'error': " in said
