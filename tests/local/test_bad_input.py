"""What is wrong with a user's input is said in one line before anything starts; the exit code is 2."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.effort import first
from tests.local.run import Run

GOOD: dict[str, Any] = {
    "entrypoint": "tasks:counting",
    "workers": {"replicas": 1},
    "stopAfter": {"updates": 3},
}
AT_ONCE = 7
"""So many of the cases that follow are told at once, or stand for all that a look at the user's code finds."""
SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown field": ({"optimiser": {"learningRate": 1}}, ["spec.optimiser", "unknown"]),
    "a wrong type": ({"batchSize": "many"}, ["spec.batchSize", "many"]),
    "a value out of range": ({"workers": {"replicas": 0}}, ["spec.workers.replicas", "0", "1"]),
    "an impossible combination": (
        {"algorithm": {"name": "asgd", "mode": "gradient"}, "exchange": {"fetchEvery": 5}},
        ["spec.algorithm.mode", "exchange.fetchEvery"],
    ),
    "a checkpoint that is not there": (
        {"checkpoint": {"restore": "/nowhere/000001"}},
        ["spec.checkpoint.restore", "/nowhere/000001"],
    ),
    "arguments it does not take": ({"args": {"sise": 8}}, ["spec.args", "sise", "size"]),
    "data that cannot be read": (
        {"entrypoint": "tasks:unreadable"},
        ["tasks:unreadable", "/nowhere/digits.bin"],
    ),
    "a missing module": ({"entrypoint": "no_such_module:task"}, ["spec.entrypoint", "no_such_module"]),
    "a module without the callable": (
        {"entrypoint": "tasks:absent"},
        ["spec.entrypoint", "'absent'", "counting"],
    ),
    "an entrypoint that is no callable": ({"entrypoint": "tasks:NUMBER"}, ["spec.entrypoint", "int"]),
    "an entrypoint that returns no task": (
        {"entrypoint": "tasks:nothing"},
        ["spec.entrypoint", "str", "asgd.Task"],
    ),
    "an evaluation that raises": (
        {"entrypoint": "tasks:unmeasured"},
        ["tasks:unmeasured", "KeyError: 'label_map'"],
    ),
    "samples of unlike lengths": (
        {"entrypoint": "tasks:ragged"},
        ["tasks:ragged", "equal size", "Task.collate"],
    ),
    "data without samples": ({"entrypoint": "tasks:empty"}, ["tasks:empty", "0 samples"]),
    "epochs of a stream": (
        {"entrypoint": "tasks:stream", "stopAfter": {"epochs": 2}},
        ["spec.stopAfter.epochs", "stream", "updates"],
    ),
    "a metric without an evaluation": (
        {"stopAfter": {"metric": {"name": "accuracy", "atLeast": 0.9}}},
        ["spec.stopAfter.metric", "evaluate"],
    ),
    "a checkpoint store that can't be": (
        {"checkpoint": {"uri": "/proc/checkpoints"}},
        ["spec.checkpoint.uri", "/proc/checkpoints"],
    ),
}


def says_one_line(run: Run, *words: str) -> None:
    """The command ends with 2 and one line that holds `words`; nothing was started and nothing is left."""
    held = set(run.output.rglob("*")) if run.output.exists() else None
    run.start()
    assert run.wait() == 2, run.words()
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("asgd: ")
    assert all(word in lines[0] for word in words), lines[0]
    assert not run.orphans()
    assert (set(run.output.rglob("*")) if run.output.exists() else None) == held


@pytest.mark.parametrize("case", first(SPECS, AT_ONCE))
def test_one_line_says_what_is_wrong_with(tmp_path: Path, case: str) -> None:
    spec, words = SPECS[case]
    says_one_line(Run(tmp_path, GOOD | spec), *words)


def test_one_line_says_that_set_names_no_field(tmp_path: Path) -> None:
    says_one_line(Run(tmp_path, GOOD, "--set", "optimizer.learningrate=1"), "--set", "optimizer.learningrate")


def test_one_line_says_that_the_job_file_is_missing(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD)
    run.job.unlink()
    says_one_line(run, "job.yaml", "No such file")


def test_one_line_says_that_the_output_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = Run(tmp_path, GOOD)
    run.output = tmp_path / "file" / "out"
    says_one_line(run, "--output", str(run.output), "Not a directory")


def test_one_line_says_that_a_metrics_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says_one_line(
            Run(tmp_path, GOOD | {"metrics": {"port": port}}), "spec.metrics.port", str(port), "in use"
        )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that has ended well."""
    with Run(tmp_path_factory.mktemp("done"), GOOD | {"args": {"size": 64}}) as run:
        assert run.wait() == 0, run.words()
        yield run


def again(done: Run, *options: str, **more: Any) -> Run:
    """The same job into the same folder with something changed; its words begin anew."""
    for name in ("stdout", "stderr"):
        (done.folder / name).unlink()
    return Run(done.folder, GOOD | {"args": {"size": 64}} | more, *options)


def test_one_line_says_that_the_output_holds_a_run(done: Run) -> None:
    says_one_line(again(done), "--output", "holds a run", "checkpoint.restore=Latest")


@pytest.mark.slow
def test_one_line_says_that_the_checkpoint_is_of_another_model(done: Run) -> None:
    run = again(done, "--set", "checkpoint.restore=Latest", args={"size": 65})
    says_one_line(run, "spec.checkpoint.restore", "128 parameters", "130")


@pytest.mark.slow
def test_one_line_says_that_the_checkpoint_is_of_another_optimizer(done: Run) -> None:
    run = again(done, "--set", "checkpoint.restore=Latest", optimizer={"name": "adam"})
    says_one_line(run, "spec.checkpoint.restore", "optimizer")


def test_one_line_says_that_nobody_can_join_a_run_that_has_ended(
    done: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    from asgd.cli import main

    assert main(["worker", "--join", str(done.output)]) == 2
    assert capfd.readouterr().err.count("\n") == 1
