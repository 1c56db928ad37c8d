"""What the parent of a run says about its recording: why it can't be replayed, and whether its logs are whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from asgd.errors import UserError
from asgd.record import run as recording
from asgd.record.shard import recorder
from asgd.spec.types import Devices, Exchange, JobSpec, Workers
from asgd.wire.messages import Pull

SPEC = JobSpec("tasks:noisy")


def obstacle(
    spec: JobSpec = SPEC, script: bool = False, dataset: int | None = 600, restored: bool = False
) -> str:
    return recording.obstacle(spec, script=script, dataset=dataset, restored=restored)


def test_a_run_over_data_of_known_size_on_the_cpu_can_be_replayed() -> None:
    assert obstacle() == ""


def test_each_obstacle_is_named() -> None:
    assert "asgd.connect" in obstacle(script=True, dataset=None)
    assert "stream" in obstacle(dataset=None)
    assert "GPUs" in obstacle(replace(SPEC, workers=Workers(devices=Devices(1))))
    assert "readInPlace" in obstacle(replace(SPEC, exchange=Exchange(read_in_place=True)))
    assert "checkpoint of an earlier run" in obstacle(restored=True)


def ended(folder: Path, index: int, term: int) -> None:
    recorder(folder, index, term).end()


def test_a_recording_is_whole_when_the_newest_start_of_each_shard_ended_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    recording.begin(folder, tmp_path, 1)
    ended(folder, 0, 1)
    assert "incomplete" in recording.seal(folder, 2, 3, "abc"), "shard 1 has no log"
    recorder(folder, 1, 1).told(0, Pull("worker", 0, 1, 0, 1))
    assert "incomplete" in recording.seal(folder, 2, 3, "abc"), "shard 1 was killed"
    ended(folder, 1, 10)
    assert recording.seal(folder, 2, 3, "abc") == ""
    recorder(folder, 1, 9).told(0, Pull("worker", 0, 1, 0, 1))
    assert recording.seal(folder, 2, 3, "abc") == "", "term 10 is the newest, not 9"
    told = recording.read(folder)
    assert (told.save, told.weights, told.job_folder) == (3, "abc", "."), (
        "the job lies in the run's own folder, which may be moved"
    )
    recording.check(folder, told)


def test_a_log_that_was_changed_or_taken_away_is_found(tmp_path: Path) -> None:
    recording.begin(tmp_path, tmp_path, 1)
    ended(tmp_path, 0, 1)
    assert recording.seal(tmp_path, 1, 0, "") == ""
    log = tmp_path / "shard-0-1.log"
    log.write_bytes(log.read_bytes() + b"\x00")
    with pytest.raises(UserError, match="is not as the run left it"):
        recording.check(tmp_path, recording.read(tmp_path))
    log.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        recording.check(tmp_path, recording.read(tmp_path))


def test_an_earlier_recording_makes_room(tmp_path: Path) -> None:
    recording.begin(tmp_path, tmp_path, 1)
    ended(tmp_path, 0, 1)
    recording.begin(tmp_path, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"jobFolder": 3})])
def test_a_damaged_run_json_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        recording.read(tmp_path)


def test_weights_have_one_hash_however_they_are_cut() -> None:
    flat = np.arange(12, dtype=np.float32)
    parts = [flat[:6].reshape(2, 3), flat[6:6], flat[6:7].reshape(()), flat[7:]]
    assert recording.weights_hash([flat]) == recording.weights_hash(parts)


def test_who_does_not_record_has_no_stamps(tmp_path: Path) -> None:
    silent, noting = recorder(None, 0, 1), recorder(tmp_path, 0, 1)
    for each in (silent, noting):
        each.told(0, Pull("worker", 0, 1, 0, 1))
        each.left(0)
    assert (silent.stamp, noting.stamp) == (0, 2)
