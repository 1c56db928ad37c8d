"""A3 over real server processes and sockets: four workers of one process take strict turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asgd.worker.sending.centre import Centre
from tests.checks.processes import SIZE, Processes, centre_of, push_of

WORKERS, ROUNDS = 4, 25


@pytest.mark.timeout(400)
def test_four_workers_in_turns_over_sockets_are_stale_by_exactly_3_on_every_shard(tmp_path: Path) -> None:
    spec = {
        "entrypoint": "nobody:asks",
        "optimizer": {"learningRate": 0.25},
        "stopAfter": {"updates": 1000},
        "parameterServer": {"shards": 2},
    }
    with Processes(tmp_path, spec) as run:
        centres = [join(run, index) for index in range(WORKERS)]
        expected = np.ones(SIZE, np.float32)
        for turn in range(WORKERS * ROUNDS):
            gradient = np.full(SIZE, np.float32(1 / (1 + turn)))
            pulled = np.empty(SIZE, np.float32)
            centre = centres[turn % WORKERS]
            outcome = centre.exchange(gradient, pulled, push_of(centre))
            expected += gradient * np.float32(-0.25)
            assert outcome.verdicts == ("applied", "applied")
            assert np.array_equal(pulled, expected)
        status = run.until(lambda status: status.versions == [WORKERS * ROUNDS] * 2)
        ramp = {0: 1, 1: 1, 2: 1, 3: 1 + WORKERS * (ROUNDS - 1)}
        assert status.staleness_histogram == ramp
        assert (status.staleness.max, status.staleness.p50) == (WORKERS - 1, WORKERS - 1)
        assert status.samples == WORKERS * ROUNDS * 8
        for centre in centres:
            centre.leave()


def join(run: Processes, index: int) -> Centre:
    centre = centre_of(run, index)
    centre.join(lambda: np.ones(SIZE, np.float32))
    centre.pull(np.empty(SIZE, np.float32))
    return centre
