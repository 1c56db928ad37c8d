"""What a script raises after it was told to stop is no fault of the job, which ends as it was told to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import nn

from asgd import exitcodes
from asgd.host import warned
from asgd.worker import joined
from asgd.worker.task.script import run_script
from tests.checks.harness import job_spec
from tests.unit.worker.own_rig import Job

NEEDS_ITS_LOOP = """\
from asgd.worker import joined
for batch in joined.connection.until_stopped([1, 2, 3]):
    loss = batch
print(loss)
"""
EXITS = """\
import sys
sys.exit("nothing was trained")
"""


def ended(job: Job, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[list[str]]]:
    """Exit code of a worker that runs the script `text`, and what the person is told."""
    told = folder / "warnings.jsonl"
    monkeypatch.setattr(warned, "_teller", warned._Teller(told))
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    connection = job.connect(nn.Linear(2, 1))
    connection.join()
    monkeypatch.setattr(joined, "connection", connection)
    script = folder / "train.py"
    script.write_text(text)
    config = SimpleNamespace(job=SimpleNamespace(spec=job_spec(entrypoint=str(script))), index=0)
    code = run_script(cast(Any, config))
    return code, [json.loads(line) for line in told.read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "what", "place"),
    [
        (NEEDS_ITS_LOOP, "NameError: name 'loss' is not defined", "train.py:4"),
        (EXITS, "SystemExit: nothing was trained", "train.py:2"),
    ],
)
def test_a_script_that_fails_since_it_was_stopped_before_its_first_batch_ends_as_one_that_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, what: str, place: str
) -> None:
    job = Job()
    job.stop = "interrupted"
    code, told = ended(job, text, tmp_path, monkeypatch)
    assert code == exitcodes.DONE
    assert told == [[f"the script was told to stop, and then raised {what}", place]]


def test_the_same_error_in_a_job_that_goes_on_is_the_scripts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NB: shard 0 is asked then whether all have failed there, and nobody is there to ask.
    with pytest.raises(AttributeError, match="ask"):
        ended(Job(), "print(loss)\n", tmp_path, monkeypatch)
