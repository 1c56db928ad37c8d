"""Every process that runs users' code has one hash seed, whatever the shell has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asgd.drivers.local.starter import Starter
from asgd.spec.environment import HASH_SEED

TELL = "import asgd.host.hashseed as h; h.settle_hash_seed(); print(hash('asgd'))"


def told(seed: str | None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    env |= {"PYTHONHASHSEED": seed} if seed else {}
    command = [sys.executable, "-c", TELL]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_a_command_started_with_another_hash_seed_starts_itself_again_with_the_jobs() -> None:
    assert told(None) == told("random") == told("7") == told(HASH_SEED["PYTHONHASHSEED"])


def test_what_a_run_starts_has_the_jobs_hash_seed_whatever_the_shell_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert HASH_SEED.items() <= Starter(tmp_path)._environment.items()
