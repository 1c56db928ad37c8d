"""The live view: every frame fits its terminal, says what matters, and folds many workers into few lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from asgd.report.frame import fold, frame, hidden_line
from asgd.spec.status import Status
from asgd.spec.types import Metric, StopAfter
from tests.unit.report.statuses import status, trouble, worker


def screen(now: Status, width: int = 80, height: int = 23) -> list[str]:
    """The frame as lines of text; what is too wide for the console shows as more lines or an ellipsis."""
    console = Console(file=io.StringIO(), width=width, height=height, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(frame(now, width, height))
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize("workers", [0, 1, 4, 12, 23, 64, 200])
@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39), (200, 60), (80, 14), (60, 20)])
def test_a_frame_fits_the_terminal(workers: int, width: int, height: int) -> None:
    lines = screen(trouble(status(workers)), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_calm_job_at_80_columns_reads_in_full() -> None:
    text = "\n".join(screen(status()))
    assert "…" not in text
    for said in [
        "digits · asgd · running · 12.3s",
        "69%  ETA 5.5s",
        "until 40 epochs",
        "1,240  263/s",
        "39,680  8,412/s",
        "27.6 of 40",
        "0.981  at update 1,200",
        "mean 3.0 p50 3 p99 5 max 9",
        "4.2s ago, update 1,000",
    ]:
        assert said in text
    assert not any(word in text for word in ("refused", "lost", "restarts"))


def test_troubles_are_shown_when_there_are_any() -> None:
    text = "\n".join(screen(trouble(status())))
    assert "3 stale" in text and "nonfinite" not in text
    assert "12 updates" in text
    assert "server 1, worker 1" in text
    assert "1 lost" in text


def test_a_job_that_stops_at_a_metric_shows_no_forecast() -> None:
    rule = StopAfter(metric=Metric(name="accuracy", at_least=0.98))
    text = "\n".join(screen(status(progress=None, eta_seconds=None, stop_after=rule)))
    assert "until accuracy >= 0.98" in text
    assert "ETA" not in text and "%  " not in text.split("worker")[0]


def test_workers_that_fit_have_a_row_each_in_the_order_of_their_index() -> None:
    folded = fold([worker(2), worker(0), worker(1)], height=4, columns=2)
    assert [w.index for w in folded.shown] == [0, 1, 2]
    assert folded.hidden == []


def test_more_workers_than_lines_go_side_by_side_before_any_is_hidden() -> None:
    folded = fold([worker(index) for index in range(20)], height=11, columns=2)
    assert (len(folded.shown), folded.rows) == (20, 10)


def test_folding_keeps_lost_workers_in_sight_and_loses_none() -> None:
    members = [worker(index, "lost" if index == 63 else "running") for index in range(64)]
    folded = fold(members, height=7, columns=2)
    assert len(folded.shown) == 10
    assert folded.shown[-1].index == 63
    assert sorted(w.index for w in folded.shown + folded.hidden) == list(range(64))


def test_only_the_newest_incarnation_of_a_worker_has_a_row() -> None:
    folded = fold([worker(0, incarnation=1), worker(0, "lost")], height=10, columns=1)
    assert [(w.state, w.incarnation) for w in folded.shown] == [("running", 1)]


def test_the_line_for_the_rest_names_their_range_and_the_slowest() -> None:
    rest = [worker(7, samples_per_second=1204.0), worker(17, samples_per_second=812.0), worker(3, "left")]
    assert hidden_line(rest) == "and 3 more: 2 running (812 to 1,204 samples/s, slowest is 17), 1 left"
