"""The command line without the distributions that bring more commands, and with no other package either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import asgd


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`asgd` where nothing but the trainer's own package is installed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(asgd.__file__).parents[1])}
    command = [sys.executable, "-S", "-m", "asgd.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_the_benchmark_that_is_not_installed_is_one_sentence_that_says_how_to_get_it() -> None:
    for arguments in (["bench"], ["bench", "--quick"], ["bench", "--help"]):
        done = alone(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "asgd: asgd bench: its package asgd-bench is not installed; in a clone of the project run"
            " `pip install ./bench`\n"
        )


def test_help_loads_no_package_beside_the_trainer_and_names_the_benchmark() -> None:
    done = alone("--help")
    assert done.returncode == 0, done.stderr
    assert "measure this and its peers side by side" in done.stdout
