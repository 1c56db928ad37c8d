"""Training that explodes: the run stops by itself, says why and who did it, and leaves weights from before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.effort import first
from tests.local.run import Run
from tests.local.test_replay import replay

CASES: dict[str, dict[str, Any]] = {
    "sgd 1e6, two shards": {"optimizer": {"learningRate": 1e6}, "parameterServer": {"shards": 2}},
    "adam 1e3": {"optimizer": {"name": "adam", "learningRate": 1e3}, "divergence": {"factor": 10}},
    "digits, sgd 1e3": {
        "entrypoint": "asgd.examples.digits:task",
        "args": {"model": "mlp"},
        "optimizer": {"learningRate": 1e3},
        "divergence": {"factor": 100},
    },
    "delta 1e6": {"optimizer": {"learningRate": 1e6}, "exchange": {"fetchEvery": 5, "pushEvery": 5}},
    "a line, one step after another": {"entrypoint": "tasks:line", "optimizer": {"learningRate": 0.05}},
}


@pytest.mark.parametrize("case", first(CASES))
def test_a_learning_rate_far_too_high_ends_as_diverged(tmp_path: Path, case: str) -> None:
    spec = {
        "entrypoint": "tasks:blobs",
        "workers": {"replicas": 1},
        "stopAfter": {"updates": 1_000_000},
        "evaluation": {"everySeconds": 0.5},
        "checkpoint": {"everySeconds": 0.2, "keep": 100},
    } | CASES[case]
    with Run(tmp_path, spec) as run:
        assert run.wait() == 78, run.words()
        summary = run.summary()
        assert summary.stop_reason == "diverged"
        assert summary.updates < 5000, "it went on for long"
        assert "training diverged" in run.said
        assert summary.diverged_by == [0]
        assert "those of worker 0" in run.said
        model = run.output / "model.safetensors"
        assert model.exists() == bool(run.manifests()), (
            "what was saved before; it may have diverged before that"
        )
        left = load_file(model) if model.exists() else {}
        assert all(np.isfinite(array).all() for array in left.values())
        assert "Traceback" not in run.said
        # Whoever continues from a checkpoint gets numbers.
        for part in (run.output / "checkpoints").glob("*/*.safetensors"):
            assert np.isfinite(load_file(part)["weights"]).all(), part


@pytest.mark.slow
def test_of_a_diverged_run_it_is_said_that_batch_norms_statistics_are_not_of_the_saved_weights(
    tmp_path: Path,
) -> None:
    spec = {
        "entrypoint": "tasks:explodes", "workers": {"replicas": 1}, "stopAfter": {"updates": 1_000_000},
        "checkpoint": {"everySeconds": 0.2}, "batchSize": 8,
    }  # fmt: skip
    with Run(tmp_path, spec) as run:
        assert run.wait() == 78, run.words()
        assert run.model()["1.running_var"].max() > 1e6, "as the worker had them in the end"
        assert (
            "from before it diverged; its batch norm's statistics are of the end: estimate them anew"
            in run.said
        )


@pytest.mark.slow
def test_a_job_that_may_go_back_trains_to_its_end_and_can_be_replayed(tmp_path: Path) -> None:
    spec = {
        "entrypoint": "asgd.examples.digits:task",
        "args": {"model": "mlp"},
        "optimizer": {"learningRate": 1e3},
        "divergence": {"factor": 100, "pushes": 20},
        "onDivergence": "Rollback",
        "rollback": {"rateFactor": 0.0001},
        "workers": {"replicas": 2},
        "parameterServer": {"shards": 2},
        "stopAfter": {"epochs": 5},
        "checkpoint": {"everySeconds": 1},
    }
    with Run(tmp_path, spec) as run:
        assert run.wait() == 0, run.words()
        summary = run.summary()
        assert (summary.stop_reason, summary.rollbacks, summary.rate_factor) == ("epochs", 1, 0.0001)
        assert summary.restarts["server"] == 0 and summary.lost_updates > 0
        assert "the job went back to update 0 and goes on at 0.0001 times" in run.said
        assert "went back 1 time, to 0.0001 of the learning rate" in run.said
        assert "those of worker" in summary.rollback_detail
        assert summary.metrics["accuracy"] is not None and summary.metrics["accuracy"] > 0.3
        assert "restored at version 0" in run.log("server-1")
        done = replay(run, "--json")
        assert json.loads(done.stdout)["equal"] is True, done.stdout + done.stderr
