"""Zeno over real processes and sockets: two shards, the evaluator as the oracle, killed once and back again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.test_strategies_processes import ROOT, kill, wait_for


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rounds_go_on_while_the_oracle_is_killed_and_starts_again(tmp_path: Path) -> None:
    output = tmp_path / "run"
    settings = ["parameterServer.shards=2", "optimizer.learningRate=0.2", "stopAfter={epochs: 60}"]
    command = [sys.executable, "-m", "asgd.cli", "run", str(ROOT / "examples/strategies/zeno.yaml")]
    for setting in settings:
        command += ["--set", setting]
    with subprocess.Popen([*command, "--quiet", "--output", str(output)]) as run:
        wait_for(output, 300, run)
        kill(output, "evaluator", 0)
        assert run.wait(240) == 0
    told = json.loads((output / "summary.json").read_text())
    assert told["stopReason"] == "epochs" and told["metrics"]["accuracy"] >= 0.94
    assert told["metricsAtUpdates"] == told["versions"][0], "the oracle is the evaluator: it measures the end"
