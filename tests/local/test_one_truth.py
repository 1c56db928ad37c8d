"""`asgd run` on real processes, `asgd simulate` and `asgd replay` of one job tell the same, to the bit.

The cases are in tests/checks/test_one_truth.py, which needs no processes: these two show that commands and processes
add nothing of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.report.summary import read
from tests import warm
from tests.local.run import HERE, Run

AHEAD: dict[str, Any] = {"exchange": {"ahead": 1}}
DELAYED: dict[str, Any] = {"algorithm": {"name": "streaming-diloco", "period": 8, "fragments": 2, "delay": 2}}


@pytest.mark.parametrize(
    "how", [AHEAD, pytest.param(DELAYED, marks=pytest.mark.slow)], ids=["ahead 1", "delay"]
)
def test_the_three_commands_tell_the_same_of_a_job_of_one_worker(how: dict[str, Any], tmp_path: Path) -> None:
    spec = {
        "entrypoint": "asgd.examples.digits:task",
        "args": {"model": "mlp"},
        "workers": {"replicas": 1},
        "parameterServer": {"shards": 2},
        "stopAfter": {"epochs": 1},
        "evaluation": {"everySeconds": 1000},
    }
    with Run(tmp_path, spec | how) as run:
        assert run.wait() == 0, run.words()
    output = tmp_path / "simulated"
    simulated = ["simulate", str(run.job), "--output", str(output), "--quiet"]
    for words in (simulated, ["replay", str(run.output)]):
        done = warm.run(words, cwd=HERE)
        assert done.returncode == 0, done.stdout + done.stderr
    real, virtual = run.summary(), read(output / "summary.json")
    assert real.staleness == virtual.staleness and real.updates == virtual.updates
    assert real.staleness.max == (1 if how is AHEAD else 0)
    ours, theirs = run.model(), Run.model_in(output)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(array, theirs[name]) for name, array in ours.items())
