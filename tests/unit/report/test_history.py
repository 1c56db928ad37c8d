"""history.jsonl: which lines a run leaves, and that neither a kill nor a resumption spoils the file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from asgd.errors import UserError
from asgd.report import history
from asgd.report.history import HistoryWriter
from asgd.report.lines import Member, Progress
from tests.unit.report.statuses import run, status, worker


def record(path: Path, *statuses: Any) -> list[dict[str, Any]]:
    with HistoryWriter(path) as writer:
        for each in statuses:
            writer.record(each)
    return [json.loads(line) for line in path.read_text().splitlines()]


def of_kind(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == kind]


def test_a_run_has_a_line_a_second_and_a_line_an_evaluation(tmp_path: Path) -> None:
    lines = record(tmp_path / "history.jsonl", *run(seconds=20, every=0.25, evaluate=4))
    assert [line["t"] for line in of_kind(lines, "progress")] == [float(second) for second in range(21)]
    assert [line["t"] for line in of_kind(lines, "evaluation")] == [4, 8, 12, 16, 20]
    evaluation = of_kind(lines, "evaluation")[0]
    assert set(evaluation) == {"kind", "t", "updates", "samples", "metrics"}
    assert evaluation["metrics"]["accuracy"] == pytest.approx(1 - 0.9 * math.exp(-4 / 5))


def test_a_run_of_half_a_second_still_has_its_first_and_last_status(tmp_path: Path) -> None:
    lines = record(tmp_path / "history.jsonl", *run(seconds=0.5, every=0.1))
    assert [line["t"] for line in of_kind(lines, "progress")] == [0.0, 0.5]
    assert lines[-1] == {"kind": "end", "t": 0.5, "stopReason": "epochs"}


def test_an_evaluation_is_written_once_and_its_samples_are_those_of_its_weights(tmp_path: Path) -> None:
    now = status(updates=1000, samples=32000, metrics={"accuracy": math.nan}, metrics_at_updates=900)
    (line,) = of_kind(record(tmp_path / "h", now, now, status(seconds=13, metrics={})), "evaluation")
    assert (line["samples"], line["metrics"]) == (28800, {"accuracy": None})


def test_joining_leaving_losing_and_a_server_that_came_back_each_have_a_line(tmp_path: Path) -> None:
    lines = record(
        tmp_path / "h",
        status([worker(0, joined=0.2), worker(1, joined=0.3)], seconds=1.0, terms=[1, 1]),
        status([worker(0, joined=0.2), worker(1, "lost", ended=1.7)], seconds=2.0, terms=[1, 1]),
        status([worker(0, "left", ended=2.9), worker(1, "lost", ended=1.7)], seconds=3.0, terms=[1, 2]),
    )
    events = [
        (line["t"], line["event"], line.get("worker", line.get("shard"))) for line in lines if "event" in line
    ]
    assert events == [
        (0.2, "joined", 0),
        (0.3, "joined", 1),
        (1.7, "lost", 1),
        (2.9, "left", 0),
        (3.0, "restarted", 1),
    ]


def test_a_worker_thought_lost_that_comes_again_is_written_as_joined(tmp_path: Path) -> None:
    path = tmp_path / "h"
    back = status([worker(0)], seconds=3.0)
    record(path, status([worker(0)], seconds=1), status([worker(0, "lost", ended=2.0)], seconds=2), back)
    events = [line.event for line in history.read(path).lines if isinstance(line, Member)]
    assert events == ["joined", "lost", "joined"]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_torn_last_line_is_dropped_and_all_before_it_is_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "h"
    record(path, *run(seconds=3))
    whole = history.read(path)
    path.write_bytes(path.read_bytes()[:-cut])
    torn = history.read(path)
    assert whole.skipped == 0
    assert torn.lines == whole.lines[: len(torn.lines)]
    assert len(torn.lines) >= len(whole.lines) - 2 and torn.skipped <= 1


def test_a_line_of_a_newer_version_is_skipped(tmp_path: Path) -> None:
    found = history.parse(
        b'{"kind":"progress","t":1.0,"new":1}\n{"kind":"news","t":2.0}\n{"kind":"end","t":3}\n'
    )
    assert [line.t for line in found.lines] == [1.0, 3.0]
    assert found.skipped == 1


def test_a_resumed_run_cuts_the_torn_line_and_its_time_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "h"
    record(path, *run(seconds=10))
    path.write_bytes(path.read_bytes()[:-5])
    lines = record(path, *run(seconds=5, start=9))
    times = [line["t"] for line in of_kind(lines, "progress")]
    assert times == [*map(float, range(11)), *map(float, range(10, 16))]
    assert len(of_kind(lines, "run")) == 2


def test_time_that_continues_by_itself_is_left_as_it_is(tmp_path: Path) -> None:
    record(tmp_path / "h", status(seconds=0.0), status(seconds=10.0))
    lines = record(tmp_path / "h", status(seconds=10.5), status(seconds=12.0))
    assert [line["t"] for line in of_kind(lines, "progress")] == [0.0, 10.0, 10.5, 12.0]


def test_time_never_runs_backwards_when_shard_0_counts_anew(tmp_path: Path) -> None:
    statuses = [status(seconds=second) for second in (0.0, 5.0, 9.0, 0.5, 2.5)]
    lines = record(tmp_path / "h", *statuses)
    assert [line["t"] for line in of_kind(lines, "progress")] == [0.0, 5.0, 9.0, 11.0]


def test_every_line_is_on_disk_when_record_returns(tmp_path: Path) -> None:
    path = tmp_path / "h"
    writer = HistoryWriter(path)
    writer.record(status(seconds=1.0))
    assert any(isinstance(line, Progress) for line in history.read(path).lines)
    writer.close()


def test_a_loss_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    (line,) = of_kind(record(tmp_path / "h", status(loss=math.inf)), "progress")
    assert line["loss"] is None


def test_a_missing_history_is_the_users_error_and_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        history.read(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("room", [0, 7], ids=["nothing fits", "a part of a line fits"])
def test_while_the_disk_is_full_lines_are_left_out_whole_and_then_the_file_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path, statuses = tmp_path / "history.jsonl", list(run(seconds=9, every=1, evaluate=0))
    writer = HistoryWriter(path)
    raw = writer._file

    class Full:
        """The disk takes `room` bytes more."""

        closed = False
        close, seek, truncate = raw.close, raw.seek, raw.truncate

        def write(self, data: bytes) -> int:
            if not room:
                raise OSError(28, "No space left on device")
            return raw.write(data[:room])

    for number, one in enumerate(statuses):
        full = 3 <= number < 6
        monkeypatch.setattr(writer, "_file", Full() if full else raw)
        writer.record(one)
        assert bool(writer.trouble) is full
        assert not full or writer.trouble == f"{path} cannot be written: No space left on device"
    writer.close()
    found = history.read(path)
    assert not found.skipped
    seen = {line.t for line in found.lines if isinstance(line, Progress)}
    assert {one.seconds for one in statuses} - seen == {one.seconds for one in statuses[3:6]}
