"""A job whose code stands in a ConfigMap: the file that kubectl takes runs here, is replayed, or takes a folder."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests import warm
from tests.users.jobs import run

TRAIN = """
import json, pathlib, torch, asgd
from helper import width

def task():
    words = json.loads((pathlib.Path(__file__).parent / "words.json").read_text())
    x = torch.randn(64, len(words))
    loss = lambda model, batch: torch.nn.functional.mse_loss(model(batch), batch[:, :width])
    return asgd.Task(model=torch.nn.Linear(len(words), width), loss=loss, data=x)
"""
FILES = {"train.py": dedent(TRAIN), "helper.py": "width = 2\n", "words.json": '["a", "b", "c"]'}
JOB = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "mapped"},
    "spec": {
        "entrypoint": "train.py:task",
        "sourceFrom": {"configMap": "code"},
        "workers": {"replicas": 1},
        "stopAfter": {"updates": 20},
    },
}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": FILES}


@pytest.mark.slow
def test_the_configmap_beside_the_job_is_its_code_and_what_the_run_leaves_is_replayed(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"{json.dumps(CONFIG_MAP)}\n---\n{json.dumps(JOB)}\n")
    ran = run(job, tmp_path)
    assert ran.summary["stopReason"] == "updates"
    replayed = warm.run(["replay", str(ran.output)])
    assert replayed.returncode == 0 and "equal" in replayed.stdout, replayed.stderr


@pytest.mark.slow
def test_a_folder_stands_for_the_configmap_and_without_either_a_sentence_says_what_is_missing(
    tmp_path: Path,
) -> None:
    job, folder = tmp_path / "job.yaml", tmp_path / "src"
    job.write_text(json.dumps(JOB))
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    refused = run(job, tmp_path)
    assert refused.code == 2
    assert refused.said == (
        f"asgd: spec.sourceFrom.configMap: ConfigMap code does not stand in {job}; add it there as a document of its"
        " own, or name the folder of its files: --source-from DIR\n"
    )
    assert run(job, tmp_path, "--source-from", "src").summary["stopReason"] == "updates"
