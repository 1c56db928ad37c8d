"""`checkpoint.best` in a real run: processes die, and the weights of the best evaluation are there at the end."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from asgd.examples import digits
from tests.local.run import Counting, Run

pytestmark = pytest.mark.slow


def test_the_weights_of_the_best_evaluation_outlive_shard_0_and_the_evaluator(tmp_path: Path) -> None:
    """The metric grows with each update and the lowest counts as the best: it is the first one for ever."""
    rules = {"evaluation": {"everyUpdates": 10}, "checkpoint": {"best": {"metric": "visits", "mode": "min"}}}
    with Counting(tmp_path, 10, args={"evaluates": True}, **rules) as run:
        first = run.until("a model was kept", lambda: (status := run.status()) and status.best)
        assert first.updates >= 10 and first.metric == "visits"
        for name in ("server-0", "evaluator-0"):
            killed = run.signal(name, signal.SIGKILL)
            run.until(
                "it is back", lambda name=name, killed=killed: run.rows().get(name, {}).get("pid") != killed
            )
        run.pace(0.02)
        assert run.finish() == 0, run.words()
        best = run.summary().best
        assert best == first and f"best       visits {first.value:.4g}"[:17] in run.said
        tensors = load_file(run.output / "model-best.safetensors")
        measured = float(np.mean([tensors["first"].mean(), tensors["second"].mean()]))
        assert measured == pytest.approx(first.value, rel=1e-6), "these are the weights that were evaluated"
        assert run.model()["first"].mean() > 2 * measured, "and not the last ones"


def test_the_moving_average_is_evaluated_beside_the_centre_and_saved_whole(tmp_path: Path) -> None:
    spec = {
        "entrypoint": "asgd.examples.digits:task", "args": {"model": "mlp"}, "workers": {"replicas": 2},
        "parameterServer": {"shards": 2}, "stopAfter": {"epochs": 5}, "evaluation": {"everyUpdates": 50, "ema": 0.9},
        "checkpoint": {"best": {"metric": "ema.accuracy", "mode": "max"}},
    }  # fmt: skip
    with Run(tmp_path, spec).start() as run:
        assert run.wait() == 0, run.words()
        summary = run.summary()
        assert {"accuracy", "ema.accuracy"} <= set(summary.metrics)
        assert summary.best is not None and summary.best.metric == "ema.accuracy"
        task = digits.task("mlp")
        assert task.evaluate is not None
        expected = {"model": "accuracy", "model-ema": "ema.accuracy", "model-best": None}
        for name, metric in expected.items():
            state = {
                key: torch.from_numpy(value)
                for key, value in load_file(run.output / f"{name}.safetensors").items()
            }
            task.model.load_state_dict(state, strict=True)
            task.model.eval()
            with torch.no_grad():
                found = float(task.evaluate(task.model)["accuracy"])
            wanted = summary.metrics[metric] if metric else summary.best.value
            assert found == pytest.approx(wanted, abs=0.004), name
