"""A pod's evaluator for code that evaluates nothing: pods are made before anybody has seen the user's code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asgd.spec import job_of, job_to_json
from asgd.spec.environment import Env

CODE = """
import torch, asgd
def task():
    return asgd.Task(model=torch.nn.Linear(1, 1), loss=lambda model, batch: model(batch).sum(), data=[torch.ones(1)])
"""
PATIENCE = {"metric": "accuracy", "mode": "max", "evaluations": 3}


def evaluate(tmp_path: Path, entrypoint: str, **spec: Any) -> subprocess.CompletedProcess[str]:
    """`asgd evaluate`, as a pod runs it, beside servers that nobody hears of."""
    (tmp_path / "mine.py").write_text(CODE)
    document = {
        "apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "mine"},
        "spec": {"entrypoint": entrypoint, **spec},
    }  # fmt: skip
    file = tmp_path / "job.json"
    file.write_bytes(job_to_json(job_of(document)))
    told = {Env.JOB: str(file), Env.SERVERS: f"ipc://{tmp_path}/nobody", Env.INDEX: "0"}
    return subprocess.run(
        [sys.executable, "-m", "asgd.cli", "evaluate"],
        env=os.environ | {str(name): value for name, value in told.items()},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entrypoint", "rules", "why"),
    [
        ("mine.py:task", {}, "mine.py:task returns a Task without `evaluate`"),
        ("mine.py", {}, "mine.py is a script, which evaluates by itself"),
        ("mine.py", {"stopAfter": {"patience": PATIENCE}}, "mine.py is a script, which evaluates by itself"),
    ],
)
def test_nothing_to_evaluate_is_said_and_is_no_failure(
    tmp_path: Path, entrypoint: str, rules: dict[str, Any], why: str
) -> None:
    """Rules of a script go by what it tells by `optimizer.report`."""
    done = evaluate(tmp_path, entrypoint, **rules)
    assert done.returncode == 0, done.stderr
    assert f"nothing is evaluated: {why}" in done.stdout + done.stderr


def test_a_rule_about_a_metric_that_no_task_gives_is_refused(tmp_path: Path) -> None:
    asked = evaluate(tmp_path, "mine.py:task", stopAfter={"patience": PATIENCE})
    why = "mine.py:task returns a Task without `evaluate`"
    assert asked.returncode == 2 and f"spec.stopAfter.patience: {why}" in asked.stderr
    assert "Traceback" not in asked.stderr
