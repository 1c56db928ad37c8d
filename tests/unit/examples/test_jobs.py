"""The example job files: each is valid, fits its task, and says what to expect."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from asgd.spec import load_job
from asgd.task import Task
from asgd.worker.reading.data import dataset_size

FOLDER = Path(__file__).parents[3] / "examples"
OURS = ["charlm", "digits", "mnist", "pipeline"]


@pytest.mark.parametrize("name", OURS)
def test_an_example_is_a_valid_job_whose_entrypoint_takes_its_args(name: str) -> None:
    job = load_job(FOLDER / f"{name}.yaml")
    module, _, function = job.spec.entrypoint.partition(":")
    task = getattr(importlib.import_module(module), function)(**job.spec.args)
    assert job.name == name
    assert isinstance(task, Task)
    assert dataset_size(task)


@pytest.mark.parametrize("name", OURS)
def test_a_schedule_ends_where_the_job_ends(name: str) -> None:
    spec = load_job(FOLDER / f"{name}.yaml").spec
    if spec.optimizer.schedule.name == "cosine":
        assert spec.optimizer.schedule.length == spec.stop_after.epochs


@pytest.mark.parametrize("name", OURS)
def test_an_example_says_what_it_shows_what_to_expect_and_how_long_it_takes(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert all(f"# {word} " in text for word in ("Shows", "Expect", "Takes"))
