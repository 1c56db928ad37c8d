"""Whoever stands in a directory that was removed is told so in one sentence, by every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asgd import cli
from asgd.client import cli as client
from asgd_operator import main as operator
from tests.unit.client.cluster import Cluster, job

GONE = "the current directory has been removed; change to one that exists, and call the command again"
JOB = Path(__file__).parents[3] / "examples" / "digits.yaml"


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    yield
    monkeypatch.undo()


@pytest.mark.parametrize(
    "words",
    ["run job.yaml", f"run {JOB}", f"simulate {JOB}", "replay runs/x", "report runs/x", "open runs", "check runs/x",
     f"validate {JOB}"],
)  # fmt: skip
def test_asgd_says_so_in_one_sentence(words: str, removed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err == f"asgd: {GONE}\n"


def test_kubectl_asgd_says_so_where_it_needs_one_and_works_where_it_does_not(
    removed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.main(["validate", "--offline", "train.py"], Cluster().access) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert client.main(["list", "-o", "name"], Cluster(job()).access) == 0


def test_the_operator_says_so(removed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert operator.main(["render", "job.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
