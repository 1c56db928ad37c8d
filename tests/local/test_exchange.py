"""Ways to exchange, on real processes: one round trip for several shards, ahead of time, and local steps in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.local.run import Counting


@pytest.mark.slow
def test_ahead_of_time_the_weights_of_a_step_are_one_version_older(tmp_path: Path) -> None:
    ahead = {"ahead": 1}
    with Counting(tmp_path, 2, workers=1, shards=3, size=300, pace=0, exchange=ahead) as run:
        assert run.wait() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert summary.versions == [summary.updates] * 3
        assert np.array_equal(model["first"], np.full(300, 2.0))
        assert np.array_equal(model["second"], np.full(300, 2.0))
        # Each push but the first was computed while the one before it was on its way.
        assert run.history("staleness")[-1]["histogram"] == {"0": 1, "1": summary.updates - 1}


@pytest.mark.slow
@pytest.mark.parametrize(("push", "fetch"), [(5, 5), (4, 3)])
def test_with_local_steps_the_epochs_are_complete_at_the_end(tmp_path: Path, push: int, fetch: int) -> None:
    exchange: dict[str, Any] = {"pushEvery": push, "fetchEvery": fetch}
    # 61 batches of 8 and one of 3 an epoch: the last push is never full.
    with Counting(tmp_path, 2, size=491, pace=0.001, exchange=exchange) as run:
        assert run.wait() == 0, run.words()
        summary, model = run.summary(), run.model()
        assert (summary.stop_reason, summary.epochs, summary.samples) == ("epochs", 2.0, 2 * 491)
        assert np.array_equal(model["first"], np.full(491, 2.0))
        assert np.array_equal(model["second"], np.full(491, 2.0))
        assert summary.updates <= 2 * 62 / min(push, fetch) + 4, "far fewer pushes than steps"
