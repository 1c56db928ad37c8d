"""The example job files: each is valid, fits its task, says what to expect; plain scripts do the same."""

from __future__ import annotations

import ast
import difflib
import importlib
from pathlib import Path
from typing import Any

import pytest

from asgd.spec import load_job
from asgd.task import Task
from asgd.worker.reading.data import dataset_size
from tests.clothes import write_clothes

FOLDER = Path(__file__).parents[3] / "examples"
TASKS = ["charlm", "charlm-adamw", "digits", "fashion", "mnist", "pipeline"]
LOOPS = ["dcgan", "lora", "script"]
OURS = [*TASKS, *LOOPS]


def plain(name: str) -> str:
    return (FOLDER / "scripts" / f"{name}_plain.py").read_text()


@pytest.mark.parametrize("name", TASKS)
def test_an_example_is_a_valid_job_whose_entrypoint_takes_its_args(name: str, tmp_path: Path) -> None:
    job = load_job(FOLDER / f"{name}.yaml")
    data = {"folder": str(write_clothes(tmp_path))} if name == "fashion" else {}
    module, _, function = job.spec.entrypoint.partition(":")
    task = getattr(importlib.import_module(module), function)(**job.spec.args, **data)
    assert job.name == name
    assert isinstance(task, Task)
    assert dataset_size(task)


@pytest.mark.parametrize("name", LOOPS)
def test_an_example_with_its_own_loop_is_a_valid_job_and_its_script_lies_beside_it(name: str) -> None:
    job = load_job(FOLDER / f"{name}.yaml")
    assert job.name == name
    ast.parse((FOLDER / job.spec.entrypoint).read_text())


@pytest.mark.parametrize("name", OURS)
def test_a_schedule_ends_where_the_job_ends(name: str) -> None:
    spec = load_job(FOLDER / f"{name}.yaml").spec
    if spec.optimizer.schedule.name == "cosine":
        assert spec.optimizer.schedule.length == spec.stop_after.epochs


@pytest.mark.parametrize("name", OURS)
def test_an_example_says_what_it_shows_what_to_expect_and_how_long_it_takes(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert all(f"# {word} " in text for word in ("Shows", "Expect", "Takes"))


@pytest.mark.parametrize("name", ["charlm-adamw", "fashion"])
def test_the_plain_script_has_the_figures_of_the_job(name: str) -> None:
    found = constants(plain(name.partition("-")[0]))
    job = load_job(FOLDER / f"{name}.yaml")
    optimizer = job.spec.optimizer
    assert [tuple(group.match) for group in optimizer.groups] == [found["NO_DECAY"]]
    assert [group.weight_decay for group in optimizer.groups] == [0]
    figures = {
        "WARMUP": optimizer.schedule.warmup, "BATCH_SIZE": job.spec.batch_size,
        "LEARNING_RATE": optimizer.learning_rate, "BETAS": optimizer.betas, "WEIGHT_DECAY": optimizer.weight_decay,
    }  # fmt: skip
    assert {key: found[key] for key in figures} == figures
    # Staleness costs some: four workers have more epochs, and less time.
    assert found["EPOCHS"] <= (job.spec.stop_after.epochs or 0) == optimizer.schedule.length
    if name == "fashion":
        assert found["WIDTH"] == job.spec.args["width"]


def test_adapters_learn_asynchronously_by_four_changed_lines() -> None:
    lines = list(difflib.ndiff(plain("lora").splitlines(), asynchronous("lora").splitlines()))
    assert sum(line[0] == "+" for line in lines) == 4
    assert sum(line[0] == "-" for line in lines) == 2


def test_two_models_learn_asynchronously_with_their_loop_as_it_was() -> None:
    lines = [
        line[2:].strip()
        for line in difflib.ndiff(plain("dcgan").splitlines(), asynchronous("dcgan").splitlines())
        if line[0] == "-"
    ]
    assert lines == [
        "for (real,) in loader:", "of_critic.step()", "of_generator.step()",
        "dcgan.save_grid(args.picture, dcgan.drawn(generator, 60))",
    ]  # fmt: skip


def asynchronous(name: str) -> str:
    return (FOLDER / "scripts" / f"{name}_async.py").read_text()


def constants(text: str) -> dict[str, Any]:
    """Names in capitals that a script sets at its head, with their values."""
    found: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
            names = [name.id for name in statement.targets[0].elts if isinstance(name, ast.Name)]
            if all(name.isupper() for name in names):
                found |= zip(names, ast.literal_eval(statement.value), strict=True)
    return found
