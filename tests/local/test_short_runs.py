"""A run that is over before its evaluator has imported torch still says how good its answer is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local.run import Run

JOB = {
    "entrypoint": "asgd.examples.digits:task",
    "args": {"model": "mlp"},
    "stopAfter": {"updates": 3},
    "workers": {"replicas": 1},
}


@pytest.mark.slow
def test_a_run_of_three_updates_is_evaluated(tmp_path: Path) -> None:
    with Run(tmp_path, JOB) as run:
        assert run.wait() == 0, run.words()
    assert set(run.summary().metrics) == {"accuracy", "test_loss"}
