"""Training that explodes: the run stops by itself, says why and leaves no exploded model behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.local.run import Run

CASES: dict[str, dict[str, Any]] = {
    "sgd 1e3": {"optimizer": {"learningRate": 1e3}},
    "sgd 1e6": {"optimizer": {"learningRate": 1e6}},
    "adam 1e3": {"optimizer": {"name": "adam", "learningRate": 1e3}},
    "adam 1e6": {"optimizer": {"name": "adam", "learningRate": 1e6}},
    "momentum 1e3": {"optimizer": {"learningRate": 1e3, "momentum": 0.9}},
    "delta 1e3": {"optimizer": {"learningRate": 1e3}, "exchange": {"fetchEvery": 5, "pushEvery": 5}},
    "delta 1e6": {"optimizer": {"learningRate": 1e6}, "exchange": {"fetchEvery": 5, "pushEvery": 5}},
    "a line, without any nan": {"entrypoint": "tasks:line", "optimizer": {"learningRate": 0.05}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_learning_rate_far_too_high_ends_as_diverged(tmp_path: Path, case: str) -> None:
    spec = {
        "entrypoint": "tasks:blobs",
        "parameterServer": {"shards": 2},
        "workers": {"replicas": 2},
        "stopAfter": {"updates": 1_000_000},
        "evaluation": {"everySeconds": 1},
    } | CASES[case]
    with Run(tmp_path, spec) as run:
        assert run.wait() == 78, run.words()
        summary = run.summary()
        assert summary.stop_reason == "diverged"
        assert summary.updates < 20_000, "it went on for long"
        assert "training diverged" in run.said
        assert not (run.output / "model.safetensors").exists()
        assert "Traceback" not in run.said
        # What can be continued is from before the explosion at the latest from its beginning, not from its end.
        assert all(manifest["updates"] < summary.updates for manifest in run.manifests())
