"""Folders and surroundings that people really have: a run works there, or one sentence says why not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import warm

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"


def asgd(*words: str | bytes, **env: str) -> subprocess.CompletedProcess[str]:
    return warm.run([os.fsdecode(word) for word in words], env={**os.environ, **env})


@pytest.mark.slow
def test_a_run_works_with_a_long_tmpdir_odd_names_no_home_and_a_c_locale(tmp_path: Path) -> None:
    temporary = tmp_path / ("x" * 60) / ("y" * 60)
    folder = tmp_path / "größer als 日本"
    temporary.mkdir(parents=True)
    folder.mkdir()
    (folder / "mein jöb.yaml").write_bytes(EXAMPLE.read_bytes())
    done = asgd(
        "run", str(folder / "mein jöb.yaml"), "--output", str(folder / "aus gabe"), "--set", "stopAfter.epochs=1",
        TMPDIR=str(temporary), HOME="/proc/none", LC_ALL="C", PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "aus gabe" / "model.safetensors").exists()
    assert r"gr\xf6\xdfer als" in done.stdout
    assert not list(temporary.iterdir()) and not (folder / "aus gabe" / ".lock").exists()


@pytest.mark.parametrize("which", ["JOB.yaml", "--output"])
def test_a_folder_that_is_not_utf_8_is_told_in_one_sentence_before_anything_starts(
    tmp_path: Path, which: str
) -> None:
    bad = os.fsencode(tmp_path) + b"/bad\xffname"
    Path(os.fsdecode(bad)).mkdir()
    (tmp_path / "job.yaml").write_bytes(EXAMPLE.read_bytes())
    Path(os.fsdecode(bad + b"/job.yaml")).write_bytes(EXAMPLE.read_bytes())
    job, output = os.fsencode(tmp_path) + b"/job.yaml", os.fsencode(tmp_path) + b"/out"
    words = [bad + b"/job.yaml", output] if which == "JOB.yaml" else [job, bad + b"/out"]
    done = asgd("run", words[0], "--output", words[1])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert (
        line.startswith(f"asgd: {which}: b'") and r"bad\xffname" in line and "must be a path in UTF-8" in line
    )
