"""`Run.model()`: the task's own model with the run's weights, built without a trace in the process that asks."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from asgd.errors import UserError
from asgd.interactive.run import Run
from asgd.interactive.sending import entrypoint_of
from asgd.interactive.trained import build
from asgd.spec.environment import Env

CODE = """
import torch
from torch import nn
import asgd
torch.rand(1)
def task():
    model = torch.compile(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), backend="eager")
    return asgd.Task(model=model, loss=lambda model, batch: model(batch).sum(), data=[torch.ones(2)])
"""


def leave(folder: Path, entrypoint: str, state: dict[str, torch.Tensor] | None) -> Path:
    """A run's folder."""
    folder.mkdir()
    job = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "mine"}}
    (folder / "job.yaml").write_text(json.dumps(job | {"spec": {"entrypoint": entrypoint}}))
    if state is not None:
        save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return {name: tensor + 1 for name, tensor in model.state_dict().items()}


def test_the_model_has_the_trained_weights_and_the_process_is_as_before(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "trained_task.py").write_text(CODE)
    folder = leave(tmp_path / "out", "trained_task.py:task", trained)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr, index]
    path = [*sys.path]
    model = build(folder, tmp_path / "code")
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]  # type: ignore[union-attr, index]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert sys.path == path and Env.JOB_FOLDER not in os.environ
    assert not model.training
    found = {name.replace("_orig_mod.", ""): tensor for name, tensor in model.state_dict().items()}
    assert found.keys() == trained.keys() and all(torch.equal(found[name], trained[name]) for name in trained)


def test_what_was_sent_by_value_is_built_from_the_runs_folder_alone_wherever_it_lies_now(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    place: dict[str, object] = {"__name__": "__main__"}
    exec(compile(CODE, "<stdin>", "exec"), place)
    staging = tmp_path / "staging"
    staging.mkdir()
    sent = entrypoint_of(place["task"], staging, tmp_path)
    folder = leave(tmp_path / "out", sent.text, trained)
    for file in staging.iterdir():
        file.rename(folder / file.name)
    model = build(folder.rename(tmp_path / "moved"), staging)
    assert torch.equal(next(iter(model.state_dict().values())), trained["0.weight"])


def test_a_script_another_model_and_no_model_are_told(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    script = Run.open(leave(tmp_path / "script", "train.py", trained))
    with pytest.raises(UserError, match="is a script, which makes its model itself"):
        script.model()
    assert script.state_dict().keys() == trained.keys()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "trained_task.py").write_text(CODE)
    other = leave(tmp_path / "other", "trained_task.py:task", {"0.weight": trained["0.weight"]})
    with pytest.raises(
        UserError, match=r"does not fit the model that trained_task\.py:task makes: .*Missing key"
    ):
        build(other, tmp_path / "code")
    with pytest.raises(UserError, match="holds no model"):
        build(leave(tmp_path / "empty", "trained_task.py:task", None), tmp_path / "code")
    assert Env.JOB_FOLDER not in os.environ
