"""The loggers' own libraries write, and their own readers read it back."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asgd.loggers.opening import open_sink
from asgd.loggers.points import Point
from asgd.loggers.sink import Place
from asgd.spec.types import Logger, MLflow, TensorBoard, WandB

CONFIG = {"batchSize": 32, "algorithm.name": "asgd"}
FIRST = [
    (1.0, Point(10, {"train/loss": 2.0, "train/samples": 80.0})),
    (2.0, Point(8, {"evaluation/acc [%]": 50.0})),
]
SECOND = [(3.0, Point(20, {"train/loss": 1.0, "train/samples": 160.0}))]


def place(folder: Path) -> Place:
    return Place("mine-3", folder, "mine", "abcdef123456", CONFIG)


def test_tensorboard_reads_back_what_was_written_without_what_was_taken_back(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = Logger(tensorboard=TensorBoard(dir=str(tmp_path)))
    first = open_sink(logger, place(tmp_path))
    first.write([*FIRST, *SECOND])
    first.close("interrupted")
    again = open_sink(logger, place(tmp_path))
    again.back(10)
    again.write([(4.0, Point(15, {"train/loss": 1.5}))])
    again.close("epochs")
    read = accumulator.EventAccumulator(str(tmp_path / "mine-3"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/loss")] == [(10, 2.0), (15, 1.5)]
    assert [(event.step, event.wall_time) for event in read.Scalars("evaluation/acc [%]")] == [(8, 2.0)]


def test_event_files_go_to_the_run_s_own_folder_where_none_is_given(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    sink = open_sink(Logger(tensorboard=TensorBoard()), place(tmp_path))
    sink.close("")
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_mlflow_goes_on_with_the_same_run_and_knows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    first = open_sink(Logger(mlflow=MLflow(run_name="first")), place(tmp_path))
    assert first.highest == -1
    first.write(FIRST)
    first.close("interrupted")
    again = open_sink(Logger(mlflow=MLflow()), place(tmp_path))
    assert again.highest == 10
    again.write(SECOND)
    again.close("epochs")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("ours")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"batchSize": "32", "algorithm.name": "asgd"}
    told = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((metric.step, metric.value, metric.timestamp) for metric in told) == [
        (10, 2.0, 1000), (20, 1.0, 3000),
    ]  # fmt: skip
    assert run.data.metrics["evaluation/acc ___"] == 50.0


@pytest.mark.slow
def test_wandb_leaves_offline_files_that_it_can_sync_and_that_hold_the_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    script = (
        "from pathlib import Path; from tests.unit.loggers import test_libraries as t;"
        f"t.write_wandb(Path({str(tmp_path)!r}))"
    )
    # NB: the library starts a service and catches signals of its process.
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-abcdef123456.wandb")
    runs = [record.run for record in wandb_records(file) if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {
        ("abcdef123456", "ours", "mine-3")
    }
    rows = [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in wandb_records(file)
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(row["updates"], row.get("train/loss")) for row in rows] == [
        ("10", "2"),
        ("8", None),
        ("20", "1"),
    ]
    listed = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", str(file.parent)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Would sync 1 run" in listed.stdout + listed.stderr


def write_wandb(folder: Path) -> None:
    sink = open_sink(Logger(wandb=WandB(project="ours")), place(folder))
    sink.write([*FIRST, *SECOND])
    sink.close("epochs")


def wandb_records(path: Path) -> Iterator[Any]:
    """A .wandb file is a log as LevelDB has it, of wandb's own protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, text = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        text += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            record = Record()
            record.ParseFromString(text)
            yield record
            text = b""
