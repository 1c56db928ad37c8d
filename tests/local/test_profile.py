"""`asgd run --profile`: torch's profiler over some steps of one worker of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local.run import Counting


@pytest.mark.slow
def test_a_run_leaves_the_trace_and_the_table_of_the_steps_of_one_worker(tmp_path: Path) -> None:
    with Counting(tmp_path, 2, "--profile", "worker=0,steps=3:5", workers=1, pace=0) as run:
        assert run.wait() == 0, run.words()
        assert "profile    " in run.said and "worker-0.json" in run.said
    events = json.loads((run.output / "profile" / "worker-0.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "asgd compute" for event in events) == 3
    table = (run.output / "profile" / "worker-0.txt").read_text()
    assert table.startswith("steps 3 to 5\n") and "Self CPU" in table
