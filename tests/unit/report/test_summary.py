"""summary.json holds the contract's fields, appears whole or not at all, and reads well as closing lines."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgd.errors import UserError
from asgd.report import summary
from asgd.report.files import write_atomic
from asgd.spec.status import Advice, Notice, Status
from asgd.spec.types import JobSpec, ParameterServer, Workers
from tests.unit.report.statuses import status, trouble, worker

CONTRACT = {
    "algorithm",
    "workers",
    "shards",
    "seed",
    "updates",
    "samples",
    "epochs",
    "seconds",
    "samplesPerSecond",
    "updatesPerSecond",
    "bytesSent",
    "staleness",
    "loss",
    "metrics",
    "stopReason",
    "restarts",
    "lostUpdates",
    "versions",
}
SPEC = JobSpec(
    entrypoint="a:b", seed=7, workers=Workers(replicas=4), parameter_server=ParameterServer(shards=2)
)


def written(tmp_path: Path, last: Status) -> dict[str, Any]:
    path = tmp_path / "summary.json"
    summary.write(summary.summarize(last, SPEC), path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_file_has_every_field_of_the_contract(tmp_path: Path) -> None:
    found = written(tmp_path, status())
    assert set(found) >= CONTRACT
    assert set(found["staleness"]) == {"mean", "p50", "p99", "max"}


def test_the_figures_are_those_of_the_last_status_and_of_the_job(tmp_path: Path) -> None:
    found = written(
        tmp_path, status(seconds=10.0, stop_reason="epochs", lost_updates=3, restarts={"server": 1})
    )
    assert (found["workers"], found["shards"], found["seed"]) == (4, 2, 7)
    assert (found["updates"], found["samples"], found["epochs"]) == (1240, 39680, 27.6)
    assert (found["samplesPerSecond"], found["updatesPerSecond"]) == (3968.0, 124.0)
    assert found["metrics"] == {"accuracy": 0.981}
    assert (found["stopReason"], found["restarts"], found["lostUpdates"]) == ("epochs", {"server": 1}, 3)
    assert found["versions"] == [1240, 1239]


def test_a_run_that_never_began_has_a_summary_too(tmp_path: Path) -> None:
    found = written(tmp_path, Status(job="digits", phase="finished", algorithm="asgd"))
    assert (found["samplesPerSecond"], found["shards"], found["loss"]) == (0.0, 2, None)


def test_a_diverged_loss_is_null_in_the_file_and_spelled_out_to_the_person(tmp_path: Path) -> None:
    last = status(loss=math.nan, metrics={}, stop_reason="diverged")
    assert written(tmp_path, last)["loss"] is None
    lines = summary.describe(summary.summarize(last, SPEC))
    assert "loss not finite" in lines[0]
    assert "diverged" in lines[1]


def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    made = summary.summarize(trouble(status()), SPEC)
    summary.write(made, tmp_path / "summary.json")
    assert summary.read(tmp_path / "summary.json") == made


def test_a_file_that_is_no_summary_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"algorithm": 3}')
    with pytest.raises(UserError, match=r"summary\.json is not a run's summary"):
        summary.read(tmp_path / "summary.json")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    made = summary.summarize(status(200), SPEC)
    large = msgspec.structs.replace(made, versions=list(range(200_000)))
    summary.write(made, path)
    writer = threading.Thread(target=lambda: [summary.write(each, path) for each in (large, made) * 5])
    writer.start()
    sizes = set()
    while writer.is_alive():
        sizes.add(len(summary.read(path).versions))
    writer.join()
    assert sizes <= {2, 200_000}
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_closing_lines_of_a_good_run() -> None:
    made = summary.summarize(status(seconds=10.0, stop_reason="epochs"), SPEC)
    assert summary.describe(made, Path("out")) == [
        "reached    accuracy 0.981, loss 0.084, 1,240 updates, 39,680 samples (27.6 epochs)",
        "stopped    after 10.0s: the epochs of the stop rule are done",
        "speed      3,968 samples/s, 124 updates/s with 4 workers and 2 shards",
        "staleness  mean 3.0, p50 3, p99 5, max 9",
        "files      out",
    ]


def test_the_closing_lines_say_what_went_wrong() -> None:
    made = summary.summarize(trouble(status(revisited_samples=1)), SPEC)
    assert summary.describe(made)[-1] == (
        "troubles   refused 3 stale; lost 12 updates; revisited 1 sample; restarts server 1, worker 1; lost worker 1"
    )


def test_workers_that_ever_joined_are_counted_although_a_status_lists_only_the_newest() -> None:
    made = summary.summarize(status([worker(0)], workers_seen=900, workers_lost=[1, 7]), SPEC)
    assert (made.workers_seen, made.workers_lost) == (900, [1, 7])


def test_what_was_given_up_stands_in_the_closing_lines_in_its_own_words() -> None:
    said = "worker 1 holds 64 samples and has pushed nothing for 60 s: it has to end"
    made = summary.summarize(status(notices=[Notice(1, said)]), SPEC)
    assert [notice.text for notice in made.notices] == [said]
    assert f"gave up    {said}" in summary.describe(made)


def test_that_fewer_workers_are_as_fast_stands_in_the_closing_lines() -> None:
    said = Advice(3, "3 workers learn as fast as 4: shard 0 is busy for 96 % of the time; add a shard")
    made = summary.summarize(status(advice=said), SPEC)
    assert f"advice     {said.text}" in summary.describe(made)
    for workers in (4, 8):
        others = summary.summarize(status(advice=Advice(workers, "more would share this machine")), SPEC)
        assert not any(line.startswith("advice") for line in summary.describe(others))
