"""Keyword arguments of `asgd.run` become fields of the job; what is wrong is told as the command line tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asgd.errors import UserError
from asgd.interactive.fields import document_of, job_name, options_of, values_of
from asgd.spec import Job, job_of, load_job


def job(sets: dict[str, Any] | None = None, **keywords: Any) -> Job:
    return job_of(document_of({"entrypoint": "a:b"}), values_of(keywords, sets))


def test_short_names_are_the_fields_they_stand_for() -> None:
    spec = job(
        workers=8, shards=2, epochs=3, updates=50, learning_rate=0.5, batch_size=16, seed=7, algorithm="easgd"
    ).spec
    assert (spec.workers.replicas, spec.parameter_server.shards, spec.batch_size, spec.seed) == (8, 2, 16, 7)
    assert (spec.stop_after.epochs, spec.stop_after.updates, spec.optimizer.learning_rate) == (3, 50, 0.5)
    assert spec.algorithm["name"] == "easgd"


def test_every_field_of_the_spec_is_a_keyword_in_snake_case_down_to_its_leaves() -> None:
    spec = job(
        optimizer={"name": "adam", "weight_decay": 0.1},
        learning_rate=0.01,
        exchange={"warm_start": {"samples": 9}},
        workers={"replicas": 2, "drain_seconds": 5},
        algorithm={"name": "ssp", "bound": 2},
        stop_after={"metric": {"name": "accuracy", "at_least": 0.9}},
    ).spec
    optimizer = spec.optimizer
    assert (optimizer.name, optimizer.weight_decay, optimizer.learning_rate) == ("adam", 0.1, 0.01)
    assert (spec.exchange.warm_start.samples, spec.workers.replicas, spec.workers.drain_seconds) == (9, 2, 5)
    assert spec.stop_after.metric is not None and spec.stop_after.metric.at_least == 0.9
    assert spec.algorithm["bound"] == 2


def test_names_inside_what_is_the_users_are_left_alone() -> None:
    spec = job(args={"batch_size": 3, "learning_rate": {"a_b": 1}}, source={"a_b.py": "x = 1"}).spec
    assert spec.args == {"batch_size": 3, "learning_rate": {"a_b": 1}}
    assert spec.source == {"a_b.py": "x = 1"}


def test_set_takes_the_paths_of_the_command_line_and_wins() -> None:
    given = {"optimizer.learningRate": 0.25, "workers.max_replicas": 80, "metadata.name": "other"}
    made = job(given, learning_rate=0.5)
    assert (made.spec.optimizer.learning_rate, made.spec.workers.max_replicas, made.name) == (
        0.25,
        80,
        "other",
    )


def test_numbers_of_numpy_and_torch_tuples_and_paths_are_what_they_mean() -> None:
    args = {"a": np.float64(0.5), "b": np.int64(3), "c": torch.tensor(2), "d": (1, 2), "e": Path("x") / "y"}
    spec = job(args=args, seed=np.int32(4), optimizer={"name": "adam", "betas": (0.8, 0.9)}).spec
    assert spec.args == {"a": 0.5, "b": 3, "c": 2, "d": [1, 2], "e": "x/y"}
    assert (spec.seed, spec.optimizer.betas) == (4, (0.8, 0.9))


@pytest.mark.parametrize(
    ("keywords", "option"),
    [
        ({"batchsize": 3}, "batchsize=3"),
        ({"batch_size": -1}, "batchSize=-1"),
        ({"workers": 0}, "workers.replicas=0"),
        ({"algorithm": "sgd"}, "algorithm.name=sgd"),
        ({"optimizer": {"name": "adam", "rate": 1}}, "optimizer={name: adam, rate: 1}"),
        ({"stop_after": {"epochs": -1}}, "stopAfter={epochs: -1}"),
    ],
)
def test_a_wrong_name_or_value_is_told_by_the_command_lines_own_sentence(
    tmp_path: Path, keywords: dict[str, Any], option: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: b}\nspec: {entrypoint: 'a:b'}\n"
    )
    with pytest.raises(UserError) as by_command:
        load_job(file, [option])
    with pytest.raises(UserError) as by_python:
        job(**keywords)
    assert str(by_python.value) == str(by_command.value).removeprefix("--set: ")


def test_what_json_cannot_hold_is_refused_by_its_place() -> None:
    with pytest.raises(UserError, match=r"^spec.args.model: Linear cannot stand in a job; allowed are"):
        job(args={"model": torch.nn.Linear(1, 1)})
    with pytest.raises(UserError, match=r"^spec.optimizer.learningRate: nan is not a finite number$"):
        job(learning_rate=float("nan"))
    deep: dict[str, Any] = {}
    deep["again"] = deep
    with pytest.raises(UserError, match="deep inside one another"):
        job(args=deep)


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="must be a path, as workers"):
        job({"workers.": 3})
    with pytest.raises(UserError, match="holds no fields"):
        job({"entrypoint.deep": 3})


def test_a_mapping_is_a_job_or_its_spec() -> None:
    whole = document_of({"metadata": {"name": "mine"}, "spec": {"entrypoint": "a:b", "batch_size": 3}})
    assert (job_of(whole).name, job_of(whole).spec.batch_size) == ("mine", 3)
    assert job_of(document_of({"entrypoint": "some.digits:task"})).name == "digits"
    with pytest.raises(UserError, match="spec: is required"):
        job_of(document_of({"kind": "AsgdJob"}))


@pytest.mark.parametrize(
    ("entrypoint", "name"),
    [
        ("pkg.digits:task", "digits"), ("train.py:task", "train"), ("sub/train.py", "train"),
        ("m:make_task", "make-task"),        ("m:_Big9", "big9"), ("", "task"), ("asgd_sent.py:task", "task"),
        ("m:" + "x" * 60, "x" * 40),
    ],
)  # fmt: skip
def test_a_job_is_called_like_its_function_or_file(entrypoint: str, name: str) -> None:
    assert job_name(entrypoint) == name
    assert job_of(document_of({"entrypoint": entrypoint or "a:b", "image": "x"})).spec.image == "x"


def test_options_of_a_simulated_cluster_are_those_of_the_command_line() -> None:
    told = options_of({"latency": 0.01, "server_speed": "1G", "straggler": ["0:4", "1:2"]})
    assert [*told] == ["--latency=0.01", "--server-speed=1G", "--straggler=0:4", "--straggler=1:2"]
