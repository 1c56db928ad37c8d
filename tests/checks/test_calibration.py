"""`asgd simulate --calibrate DIR`: what a run tells of its times, and that a simulation then takes as long."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asgd.cli import main
from asgd.report.history import History, HistoryWriter
from asgd.report.lines import Run, Timing
from asgd.spec.durations import Durations, Spread, merged
from asgd.spec.status import ServingView, Status, WorkerTimes, WorkerView
from asgd.world.calibration import calibrate, whole, world
from asgd.world.models import MeasuredTime

JOB = """
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {name: digits}
spec:
  entrypoint: asgd.examples.digits:task
  args: {model: mlp}
  stopAfter: {updates: 200}
"""


def spread(*seconds: float) -> Spread:
    durations = Durations()
    for each in seconds:
        durations.add(each)
    return durations.told()


def times(own: float, exchange: float = 0.0, count: int = 50) -> WorkerTimes:
    return WorkerTimes(spread(*[own] * count), spread(*[exchange] * count))


def timing(*workers: WorkerTimes, requests: int = 0, seconds: float = 0.0) -> Timing:
    return Timing(t=1.0, workers=dict(enumerate(workers)), serving=ServingView(requests, seconds))


def measured_run(folder: Path, *workers: WorkerTimes, simulated: bool = False) -> Path:
    """A run whose workers had these times, as `asgd run` leaves it."""
    folder.mkdir()
    views = [WorkerView(index, "running", 0.0, times=told) for index, told in enumerate(workers)]
    with HistoryWriter(folder / "history.jsonl", simulated=simulated) as history:
        history.record(
            Status(
                job="j",
                phase="running",
                algorithm="asgd",
                workers=views,
                updates=200,
                seconds=9.0,
                staleness_histogram={0: 200},
            )
        )
    return folder


def test_a_spread_keeps_the_exact_mean_and_quantiles_to_a_bucket() -> None:
    told = spread(*[0.001] * 90, *[0.1] * 10)
    assert told.total == 100 and told.mean == pytest.approx(0.0109)
    assert told.quantile(0.5) == pytest.approx(0.001, rel=0.27) and told.quantile(0.95) == pytest.approx(
        0.1, rel=0.27
    )
    assert merged([told, told]).seconds == pytest.approx(2.18)


def test_durations_out_of_range_are_counted_at_the_ends() -> None:
    assert spread(0.0, -1.0, 1e-9).total == 3 and spread(1e9).quantile(0.5) > 1e3


def test_drawn_times_have_the_mean_and_the_spread_of_the_measured_ones() -> None:
    random = np.random.default_rng(0)
    real = random.lognormal(np.log(0.004), 0.6, 4000)
    model = world(timing(WorkerTimes(spread(*real))), 1.0, False, 1).compute
    assert isinstance(model, MeasuredTime)
    drawn = np.array([model.draw(random) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(real.mean(), rel=0.02)
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(drawn, q) == pytest.approx(np.quantile(real, q), rel=0.1)


def test_a_worker_unlike_the_others_keeps_its_factor_and_does_not_spoil_their_times() -> None:
    found = world(timing(times(0.1), times(0.1), times(0.3), times(0.11)), 1.0, False, 4)
    assert [index for index, _ in found.stragglers] == [2]
    assert found.stragglers[0][1] == pytest.approx(0.3 / 0.105, rel=0.01)
    assert isinstance(found.compute, MeasuredTime) and found.compute.bounds[-1][1] < 0.15
    assert world(timing(times(0.1), times(0.1), times(0.3)), 1.0, False, 2).stragglers == ()


def test_what_is_left_of_an_exchange_beside_the_server_is_latency() -> None:
    found = world(timing(times(0.1, 0.01), requests=100, seconds=0.2), 1.0, False, 1)
    assert found.server_seconds == pytest.approx(0.002) and found.latency == pytest.approx(0.004)


def test_where_pulls_are_held_back_only_the_quickest_exchanges_count() -> None:
    waited = WorkerTimes(spread(0.1), spread(*[0.01] * 20, *[1.0] * 80))
    assert world(timing(waited), 1.0, True, 1).latency == pytest.approx(0.005, rel=0.27)
    assert world(timing(waited), 1.0, False, 1).latency == pytest.approx(0.4, rel=0.01)


def test_the_times_of_all_starts_of_a_run_count_once() -> None:
    lines = [
        Run(0, "j", "asgd"),
        timing(times(0.1, count=5)),
        timing(times(0.1, count=8)),
        Run(2, "j", "asgd"),
    ]
    assert whole(History([*lines, timing(times(0.1, count=3))])).workers[0].own.total == 8 + 3


def test_a_calibrated_simulation_takes_as_long_as_the_times_say(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    run = measured_run(tmp_path / "run", times(0.1, 0.02), times(0.1, 0.02))
    for name, more in (("one", []), ("two", ["--latency", "0.1"])):
        options = [
            "--workers",
            "2",
            "--calibrate",
            str(run),
            "--output",
            str(tmp_path / name),
            "--quiet",
            *more,
        ]
        assert main(["simulate", str(tmp_path / "job.yaml"), *options]) == 0
    told = {name: json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")}
    leases = 18  # of five batches each, which are asked for over the same network
    assert told["one"]["seconds"] == pytest.approx(100 * 0.12 + leases * 0.02, rel=0.03)
    # An option of one's own wins.
    assert told["two"]["seconds"] == pytest.approx(100 * 0.3 + leases * 0.2, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("nothing", "is no run"), ("simulated", "is a simulation"), ("no times", "no step times")],
)
def test_a_folder_without_measured_times_is_told_in_one_sentence(
    kind: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    if kind != "nothing":
        measured_run(
            tmp_path / "run", *([times(0.1)] if kind == "simulated" else []), simulated=kind == "simulated"
        )
    assert main(["simulate", str(tmp_path / "job.yaml"), "--calibrate", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("asgd: --calibrate: ") and said in told and len(told.splitlines()) == 1


def test_a_run_writes_its_times_now_and_then_and_at_its_end(tmp_path: Path) -> None:
    views = [WorkerView(0, "running", 0.0, times=times(0.1))]
    with HistoryWriter(tmp_path / "h") as history:
        for second in range(70):
            history.record(
                Status(
                    job="j",
                    phase="running",
                    algorithm="asgd",
                    workers=views,
                    seconds=float(second),
                    staleness_histogram={0: 1},
                )
            )
    lines = [json.loads(line) for line in (tmp_path / "h").read_text().splitlines()]
    written = [line for line in lines if line["kind"] == "timing"]
    assert [line["t"] for line in written] == [30.0, 60.0, 69.0]
    assert len(json.dumps(written[0])) < 30 * 10


def test_a_measured_cluster_can_be_read_from_a_folder(tmp_path: Path) -> None:
    found = calibrate(measured_run(tmp_path / "run", times(0.1, 0.02), times(0.5, 0.02)), 2)
    assert [index for index, _ in found.stragglers] == [0, 1] and found.latency == pytest.approx(0.01)
