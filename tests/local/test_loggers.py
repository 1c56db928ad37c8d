"""Loggers of `asgd run`: their files are there at the end, a resumed run goes on in them, who fails stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local.run import Counting


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_its_event_files_and_a_logger_that_fails_is_said_once(
    tmp_path: Path,
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "file").touch()
    logging = [{"tensorboard": {}}, {"tensorboard": {"dir": str(tmp_path / "file")}}]
    with Counting(tmp_path, 3, workers=1, pace=0, args={"evaluates": True}, logging=logging) as run:
        assert run.wait() == 0, run.words()
        first = run.summary()
        said = run.said
        assert said.count("the logger tensorboard can't write now, and tries again: ") <= 1
        assert said.count("the logger tensorboard has not written all: ") == 1
        run.start("--set", "stopAfter.epochs=5", "--set", "checkpoint.restore=Latest")
        assert run.wait() == 0, run.words()
        last = run.summary()
    read = accumulator.EventAccumulator(str(run.output / "tensorboard"))
    read.Reload()
    losses = [event.step for event in read.Scalars("train/samples")]
    assert losses == sorted(set(losses)) and {first.updates, last.updates} <= set(losses)
    visits = [(event.step, event.value) for event in read.Scalars("evaluation/visits")]
    assert len({step for step, _ in visits}) == len(visits) and visits[-1] == (last.updates, 5.0)
