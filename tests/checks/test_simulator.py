"""Virtual time: the same bits twice, hundreds of workers, and mishaps that happen when they were asked for."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from asgd.cli import main
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import CONSTANT, Problem, digits, job, simulation, train

JOB = """
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {name: digits}
spec:
  entrypoint: asgd.examples.digits:task
  args: {model: mlp}
  stopAfter: {updates: 300}
"""

BREAKS = """import asgd, torch
from torch import nn
calls = []
def task(model):
    data = torch.utils.data.TensorDataset(torch.ones(64, 2), torch.zeros(64, dtype=torch.long))
    return asgd.Task(model=nn.Linear(2, 2), loss=loss, data=data)
def loss(model, batch):
    calls.append(1)
    if len(calls) > 30:
        raise ValueError("no more")
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
"""


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def test_what_users_code_raises_is_one_sentence_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS)
    (tmp_path / "job.yaml").write_text(JOB.replace("asgd.examples.digits:task", "breaks.py:task"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = ["simulate", str(tmp_path / "job.yaml"), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "breaks.py:task failed in worker" in said and "ValueError: no more (breaks.py:10)" in said
    assert "Traceback" not in said


def quadratic(size: int = 1) -> Problem:
    return Problem(np.ones(size), lambda w, _: w)


def test_the_same_job_ends_with_the_same_bits_twice(job_file: Path, tmp_path: Path) -> None:
    options = ["--workers", "5", "--straggler", "1:3", "--latency", "0.01", "--death", "2@2+1", "--quiet"]
    for name in ("one", "two"):
        assert main(["simulate", str(job_file), "--output", str(tmp_path / name), *options]) == 0
    one, two = ((tmp_path / name) for name in ("one", "two"))
    for file in ("model.safetensors", "history.jsonl", "summary.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    other = [*options, "--seed", "1"]
    assert main(["simulate", str(job_file), "--output", str(tmp_path / "three"), *other]) == 0
    assert (one / "model.safetensors").read_bytes() != (tmp_path / "three" / "model.safetensors").read_bytes()


def test_after_a_simulation_this_process_is_none_of_a_run(job_file: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    job_file.write_text(JOB + "  source: {parts.py: 'x = 1'}\n")
    assert main(["simulate", str(job_file), "--output", str(tmp_path / "o"), "--quiet"]) == 0
    assert dict(os.environ) == before


def test_it_leaves_the_files_of_a_run(job_file: Path, tmp_path: Path) -> None:
    assert main(["simulate", str(job_file), "--output", str(tmp_path / "o"), "--quiet"]) == 0
    told = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert told["updates"] >= 300 and told["stopReason"] == "updates" and told["metrics"]["accuracy"] > 0.8
    for name in ("history.jsonl", "curves.png", "model.safetensors", "job.yaml"):
        assert (tmp_path / "o" / name).stat().st_size > 100


@pytest.mark.slow
def test_hundreds_of_workers_train_in_one_process_with_the_same_bits_twice(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        JOB.replace("updates: 300", "updates: 1500").replace("spec:", "spec:\n  workers: {maxReplicas: 256}")
    )
    for name in ("one", "two"):
        options = ["--workers", "256", "--output", str(tmp_path / name), "--quiet"]
        assert main(["simulate", str(path), *options]) == 0
    one, two = ((tmp_path / name) for name in ("one", "two"))
    assert json.loads((one / "summary.json").read_text())["staleness"]["p50"] >= 200
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def test_twice_the_workers_take_half_the_time_when_communication_is_free() -> None:
    seconds = [
        train(quadratic(), stopAfter={"updates": 64}, workers={"replicas": count}).cluster.status().seconds
        for count in (1, 2, 4)
    ]
    assert seconds == pytest.approx([63, 31, 15], abs=1.2)


def test_a_slow_worker_makes_fewer_updates_by_its_factor() -> None:
    world = World(compute=ComputeTime("constant", 1.0), stragglers=((0, 4.0),))
    done = train(quadratic(), world, stopAfter={"updates": 90}, workers={"replicas": 2})
    assert done.cluster.servers[0].shard.state.clocks == {} and done.cluster.coordinator.updates >= 90
    samples = {member.index: member.samples for member in done.cluster.coordinator.past}
    assert samples[1] == pytest.approx(4 * samples[0], abs=4)


def test_bandwidth_is_shared_by_all_who_push_to_a_server() -> None:
    big = 100_000
    world = World(compute=ComputeTime("constant", 1.0), bandwidth=4e5)
    alone = train(quadratic(big), world, stopAfter={"updates": 20}, workers={"replicas": 1})
    four = train(quadratic(big), world, stopAfter={"updates": 20}, workers={"replicas": 4})
    # A push and a pull take a second each: one worker needs 3 s an update, four are held to the server's 1 s.
    assert alone.cluster.status().seconds == pytest.approx(3 * 19, rel=0.01)
    assert four.cluster.status().seconds == pytest.approx(20, rel=0.2)


def test_a_dead_workers_share_is_done_by_the_others_and_it_may_come_back() -> None:
    world = World(compute=ComputeTime("constant", 0.1), deaths=(Mishap(1, 2.05, 2.0), Mishap(2, 3.0)))
    _, _, done = digits(world=world, stopAfter={"epochs": 4}, workers={"replicas": 3})
    status = done.cluster.status()
    assert status.stop_reason == "epochs" and status.epochs == pytest.approx(4)
    assert status.restarts["worker"] == 1
    assert {worker.index for worker in status.workers if worker.state == "lost"} == {1, 2}


def test_a_worker_that_stands_still_too_long_is_given_up_and_joins_again() -> None:
    world = World(compute=ComputeTime("constant", 0.1), pauses=(Mishap(0, 2.0, 15.0),))
    done = train(quadratic(), world, stopAfter={"updates": 400}, workers={"replicas": 2})
    states = [(worker.index, worker.state) for worker in done.cluster.status().workers]
    assert (0, "lost") in states and (0, "left") in states


def test_a_late_worker_is_not_there_before_its_time() -> None:
    world = World(compute=ComputeTime("constant", 1.0), joins=(Mishap(1, 10.0),))
    run = simulation(job(stopAfter={"updates": 60}, workers={"replicas": 2}), quadratic(), world)
    run.run()
    samples = {member.index: member.samples for member in run.cluster.coordinator.past}
    assert samples[0] - samples[1] == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--compute", "normal:1", "constant:SECONDS"),
        ("--compute", "uniform:2,1", "wrong way round"),
        ("--straggler", "9:2", "an index below 4"),
        ("--death", "1@x", "INDEX@SECOND"),
        ("--bandwidth", "fast", "125M"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(
    option: str, value: str, said: str, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(job_file), option, value]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"asgd: {option}: ") and said in told and len(told.splitlines()) == 1


def test_a_round_robin_of_equal_workers_has_a_staleness_of_one_less_than_their_number() -> None:
    done = train(quadratic(), CONSTANT, stopAfter={"updates": 100}, workers={"replicas": 4})
    histogram = done.cluster.servers[0].shard.histogram
    assert histogram[3] == histogram.total() - 3 and {0, 1, 2} <= set(histogram)
