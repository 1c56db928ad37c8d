"""curves.png: the shapes it is made of, and a picture of the right size from every kind of run."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.report import curves, history, series
from asgd.report.history import History, HistoryWriter
from asgd.report.lines import Evaluation, Histogram, Member, Progress, Run, Server
from asgd.spec.status import Status
from asgd.spec.types import Metric, StopAfter
from tests.unit.report.statuses import run, status


def recorded(path: Path, *runs: Iterable[Status]) -> History:
    for each in runs:
        with HistoryWriter(path) as writer:
            for now in each:
                writer.record(now)
    return history.read(path)


def size(picture: bytes) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and picture[12:16] == b"IHDR"
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


RUNS = {
    "four workers": [list(run(20, 4))],
    "one worker for half a second": [list(run(0.5, 1))],
    "64 workers": [list(run(60, 64))],
    "no evaluations": [list(run(5, 2, evaluate=0))],
    "resumed": [list(run(20, 4)), list(run(10, 4, start=18))],
    "one status": [[status()]],
    "diverged": [[status(loss=math.nan, seconds=s, metrics={"accuracy": math.nan}) for s in (0.0, 2.0)]],
    "no workers, no pushes": [[Status(job="digits", phase="starting", algorithm="asgd")]],
    "odd names": [[status(metrics={"_$x$": 0.5, "loss^{": 12.0})]],
    "nothing": [],
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_of_run_gives_a_picture(tmp_path: Path, kind: str) -> None:
    path, out = tmp_path / "history.jsonl", tmp_path / "curves.png"
    path.touch()
    recorded(path, *RUNS[kind])
    curves.draw(path, out, "digits")
    assert size(out.read_bytes()) == (1600, 1000)


def test_a_directory_without_a_history_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"history\.jsonl cannot be read"):
        curves.draw(tmp_path / "history.jsonl", tmp_path / "curves.png", "x")


@pytest.mark.parametrize("workers", [1, 4, 64])
def test_every_worker_has_a_band_and_a_row_in_the_picture(tmp_path: Path, workers: int) -> None:
    from matplotlib.figure import Figure

    run_history = recorded(tmp_path / "h", run(10, workers))
    bands = series.bands(run_history)
    assert [band.worker for band in bands] == list(range(workers))
    axes = Figure().subplots()
    curves.draw_workers(axes, run_history)
    assert sorted({round(bar.get_y() + bar.get_height() / 2) for bar in axes.patches}) == list(range(workers))


def test_bands_tell_how_each_life_ended(tmp_path: Path) -> None:
    bands = series.bands(recorded(tmp_path / "h", run(10, 3)))
    assert [(band.worker, band.end, band.fate) for band in bands] == [
        (0, 10.0, "left"),
        (1, 5.0, "lost"),
        (2, 10.0, "left"),
    ]


def test_a_worker_that_came_back_has_a_band_for_each_life() -> None:
    lines = [
        Member(0.0, "joined", 0),
        Member(2.0, "lost", 0),
        Member(3.0, "joined", 0, incarnation=1),
        Progress(9.0),
    ]
    bands = series.bands(History(lines))
    assert [(band.start, band.end, band.fate) for band in bands] == [
        (0.0, 2.0, "lost"),
        (3.0, 9.0, "running"),
    ]


def test_a_killed_run_ends_its_bands_where_the_resumed_one_begins() -> None:
    lines = [
        Run(0.0, "j", "asgd"),
        Member(0.0, "joined", 0),
        Progress(5.0),
        Run(5.0, "j", "asgd"),
        Member(6.0, "joined", 0),
        Progress(8.0),
    ]
    bands = series.bands(History(lines))
    assert [(band.start, band.end) for band in bands] == [(0.0, 5.0), (6.0, 8.0)]


def test_servers_that_came_back_and_resumed_runs_are_marked() -> None:
    lines = [Run(0.0, "j", "asgd"), Server(4.0, "restarted", 1, 2), Run(9.0, "j", "asgd")]
    assert series.marks(History(lines)) == [series.Mark(4.0, "server"), series.Mark(9.0, "resumed")]


def test_the_loss_is_cut_where_a_run_resumed() -> None:
    first = Progress(1.0, samples=100, loss=2.0)
    second = Progress(3.0, samples=90, loss=1.5)
    curve = series.loss(
        History([Run(0.0, "j", "asgd"), first, Run(2.0, "j", "asgd"), second]), series.by_samples
    )
    assert (curve.x[0], curve.x[2], curve.y[0], curve.y[2]) == (100.0, 90.0, 2.0, 1.5)
    assert math.isnan(curve.x[1]) and math.isnan(curve.y[1])


def test_a_curve_of_nothing_but_gaps_counts_as_empty() -> None:
    assert not series.loss(History([Progress(1.0), Progress(2.0)]), series.by_time)
    assert series.loss(History([Progress(1.0, loss=0.0)]), series.by_time)


def test_the_metric_of_the_stop_rule_comes_first_and_only_fractions_share_its_axis() -> None:
    rule = StopAfter(metric=Metric(name="accuracy", at_least=0.9))
    values = {"perplexity": 40.0, "recall": 0.7, "accuracy": 0.8}
    found = History([Run(0.0, "j", "asgd", stop_after=rule), Evaluation(1.0, 1, 32, dict(values))])
    assert series.metric_names(found) == ["accuracy", "perplexity", "recall"]
    assert series.panel_metrics(found) == ["accuracy", "recall"]


def test_the_target_line_stands_at_the_value_of_the_stop_rule(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    curves.draw_metrics(axes, recorded(tmp_path / "h", run(10)), against_time=True)
    flat = [line.get_ydata() for line in axes.lines if line.get_label() == "target 0.98"]
    assert [list(values) for values in flat] == [[0.98, 0.98]]


def test_a_staleness_histogram_that_began_anew_is_added_to_the_former() -> None:
    lines = [Histogram(1.0, {0: 5}), Histogram(2.0, {0: 8, 1: 2}), Histogram(3.0, {1: 4})]
    assert series.histogram(History(lines)) == {0: 8, 1: 6}


def test_a_long_tail_of_staleness_keeps_every_push_in_some_bar() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    curves.draw_staleness(axes, History([Histogram(1.0, {0: 50, 7: 30, 999: 20})]))
    heights = [bar.get_height() for bar in axes.patches]
    assert len(heights) <= 40
    assert sum(heights) == pytest.approx(1.0)
