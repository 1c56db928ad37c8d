"""Liars in a real run: Safeguard names them, and nobody else, in the summary of `asgd run`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.test_strategies_processes import ROOT

LIARS = (
    "[{attack: sign-flip, workers: [6]}, {attack: label-flip, workers: [7]},"
    " {attack: inner, workers: [8]}, {attack: scaled, workers: [9]}]"
)


@pytest.mark.timeout(300)
def test_safeguard_names_the_liars_of_a_real_run(tmp_path: Path) -> None:
    output = tmp_path / "run"
    job = str(ROOT / "examples/strategies/safeguard.yaml")
    settings = [f"chaos.byzantine={LIARS}", "stopAfter={updates: 800}", "parameterServer.shards=2"]
    command = [sys.executable, "-m", "asgd.cli", "run", job, "--quiet", "--output", str(output)]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    told = json.loads((output / "summary.json").read_text())
    assert told["rejectedWorkers"] == [6, 7, 8, 9]
    assert "rejected   workers 6, 7, 8, 9: safeguard did not listen to what they sent" in done.stdout
    assert "worker-6 is not listened to for a time" in done.stdout + done.stderr
    assert "this job is a test of its strategy" in done.stdout + done.stderr
