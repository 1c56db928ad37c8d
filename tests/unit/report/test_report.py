"""`asgd report`: names, goals, costs, and a page that needs nothing but itself."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from asgd.cli import main
from asgd.errors import UserError
from asgd.report import goal as goals
from asgd.report import summary
from asgd.report.compared import load
from asgd.report.goal import reached
from asgd.report.history import History, HistoryWriter
from asgd.report.labels import Named, labels
from asgd.report.lines import Evaluation, Progress, Run
from asgd.report.panels import DARK, DASHES, LIGHT, style
from asgd.report.points import Point, points, total_bytes
from asgd.report.table import columns, groups
from asgd.spec.status import Status
from asgd.spec.types import JobSpec
from tests.unit.report.statuses import run, status
from tests.unit.report.test_curves import size


def leave(folder: Path, name: str = "digits", *, over: bool = True, simulated: bool = False) -> Path:
    """A run as `asgd run` leaves it; one that is not over has no summary and no last line."""
    folder.mkdir(parents=True)
    history = HistoryWriter(folder / "history.jsonl", simulated=simulated)
    statuses = [msgspec.structs.replace(now, job=name, algorithm=name) for now in run(20, 4)]
    for now in statuses if over else statuses[:60]:
        history.record(now)
    if over:
        history.close()
        summary.write(summary.summarize(statuses[-1], JobSpec(entrypoint="a:b")), folder / "summary.json")
    return folder


def named(
    job: str = "digits", algorithm: str = "asgd", seed: int = 0, folder: str = "a", workers: int = 4
) -> Named:
    return Named(job, algorithm, workers, 1, seed, folder)


# -- names --------------------------------------------------------------------------------------------------


def test_a_run_is_called_after_its_job_and_its_algorithm_unless_the_job_says_it() -> None:
    assert labels([named(), named("easgd", "easgd"), named("", "")]) == ["digits (asgd)", "easgd", "a"]


def test_runs_of_one_name_are_told_apart_by_what_differs() -> None:
    assert labels([named(workers=1), named(workers=8)]) == [
        "digits (asgd), 1 worker",
        "digits (asgd), 8 workers",
    ]
    assert labels([named(seed=1), named(seed=2), named("x", "x")]) == [
        "digits (asgd), seed 1",
        "digits (asgd), seed 2",
        "x",
    ]


def test_runs_that_differ_in_nothing_are_told_apart_by_their_folders() -> None:
    assert labels([named(folder="a"), named(folder="b")]) == ["digits (asgd), a", "digits (asgd), b"]


def test_no_two_runs_ever_bear_the_same_name() -> None:
    runs = [
        named(),
        named(),
        named(seed=1),
        named("digits (asgd)", "asgd"),
        named("", "", folder="digits (asgd)"),
    ]
    assert len(set(labels(runs))) == len(runs)


# -- goals --------------------------------------------------------------------------------------------------


def at(t: float, value: float | None, updates: int = 0) -> Point:
    return Point(t, updates, updates * 32, 0.0, {"accuracy": value})


def test_the_first_evaluation_at_the_target_counts_not_the_best_one() -> None:
    curve = [at(1, 0.5), at(2, 0.95), at(3, 0.9), at(4, 0.99)]
    found = reached(goals.parse("accuracy=0.95"), curve)
    assert found is not None and found.t == 2


def test_a_target_that_was_not_reached_is_none_and_nothing_is_made_up() -> None:
    assert reached(goals.parse("accuracy=0.95"), [at(1, 0.5), at(2, None)]) is None


def test_without_a_target_the_first_best_evaluation_counts() -> None:
    found = reached(goals.best("accuracy"), [at(1, 0.5), at(2, 0.9), at(3, 0.9), at(4, None)])
    assert found is not None and found.t == 2


@pytest.mark.parametrize(
    ("text", "lower", "bound"),
    [
        ("accuracy=0.95", False, 0.95),
        ("test_loss=0.1", True, 0.1),
        ("x<=3", True, 3.0),
        ("error>=2", False, 2.0),
    ],
)
def test_which_way_is_better_is_told_by_the_sign_or_else_by_the_name(
    text: str, lower: bool, bound: float
) -> None:
    goal = goals.parse(text)
    assert (goal.lower, goal.bound) == (lower, bound)


@pytest.mark.parametrize("text", ["accuracy", "accuracy=high", "=0.9", "accuracy=nan", ""])
def test_a_wrong_target_is_told_in_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["report", str(leave(tmp_path / "a")), "--target", text, "--output", str(tmp_path / "o")]) == 2
    )
    told = capsys.readouterr().err
    assert (
        told.startswith("asgd: --target: ") and len(told.splitlines()) == 1 and not (tmp_path / "o").exists()
    )


# -- costs --------------------------------------------------------------------------------------------------


def progress(t: float, updates: int, sent: int) -> Progress:
    return Progress(t, updates=updates, bytes_sent=sent, bytes_received=sent)


def test_bytes_of_an_evaluation_stand_between_those_of_the_lines_around_its_updates() -> None:
    lines = [Run(0, "j", "a"), progress(1, 100, 500), progress(3, 300, 1500), Evaluation(3, 150, 1, {})]
    (point,) = points(History(lines))
    assert point.bytes == pytest.approx(1500) and point.first


def test_bytes_go_on_where_a_resumed_run_counts_anew_and_its_curve_is_cut() -> None:
    lines = [
        *(Run(0, "j", "a"), progress(1, 100, 500), Evaluation(1, 100, 1, {}), Evaluation(1, 100, 1, {})),
        *(Run(2, "j", "a"), progress(3, 90, 20), progress(4, 190, 250), Evaluation(4, 190, 1, {})),
    ]
    found = points(History(lines))
    assert [(point.bytes, point.first) for point in found] == [(1000, True), (1000, False), (1500, True)]
    assert total_bytes(History(lines)) == 1500


def test_a_shard_that_came_back_and_counts_anew_takes_nothing_away() -> None:
    lines = [Run(0, "j", "a"), progress(1, 10, 500), progress(2, 20, 300), progress(3, 30, 350)]
    assert total_bytes(History(lines)) == 1000 + 100


# -- the page -----------------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """Text, rows and whatever would make a browser ask for something else."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.rows, self.asks = "", 0, list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        given = dict(attrs)
        self.asks += [tag] if tag in ("script", "link", "iframe", "img") else []
        self.asks += [
            v for k in ("src", "href", "xlink:href") if (v := given.get(k)) and not v.startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    folders = [str(leave(tmp_path / "a")), str(leave(tmp_path / "b", "easgd"))]
    out = tmp_path / "out"
    assert main(["report", *folders, "--output", str(out), "--target", "accuracy=0.9"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.asks == [] and "@import" not in page and "@font-face" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert page.count("<figure>") == 6 and outline.rows == 4
    assert "prefers-color-scheme: dark" in page and "#0a0" not in page
    width, height = size((out / "report.png").read_bytes())
    assert width == 1600 and height > 900


def test_names_from_outside_are_text_on_the_page(tmp_path: Path) -> None:
    folder = leave(tmp_path / "a", "<script>alert(1)</script>")
    assert main(["report", str(folder), "--output", str(tmp_path / "o")]) == 0
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert Outline(page).asks == [] and "&lt;script&gt;alert(1)" in page


def test_the_same_runs_give_the_same_page_and_picture(tmp_path: Path) -> None:
    folder = str(leave(tmp_path / "a"))
    for out in ("o", "p"):
        assert main(["report", folder, "--output", str(tmp_path / out)]) == 0
    for name in ("report.html", "report.png"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "p" / name).read_bytes()


def test_a_run_that_goes_on_is_shown_as_far_as_it_has_come(tmp_path: Path) -> None:
    going = leave(tmp_path / "going", over=False)
    (going / "job.yaml").write_text("spec: {seed: 7, workers: {replicas: 3}, parameterServer: {shards: 2}}")
    (shown,) = load([str(going)])
    assert (shown.stopped, shown.workers, shown.shards, shown.seed) == ("still running", 3, 2, 7)
    assert shown.updates > 0 and shown.bytes > 0 and shown.metrics["accuracy"]
    os.utime(going / "history.jsonl", (0, 0))
    assert load([str(going)])[0].stopped == "cut off"


def test_a_run_that_has_just_begun_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    HistoryWriter(tmp_path / "a" / "history.jsonl").record(
        Status(job="j", phase="starting", algorithm="asgd")
    )
    assert main(["report", str(tmp_path / "a"), "--output", str(tmp_path / "o")]) == 0


@pytest.mark.parametrize("kind", ["nothing there", "empty folder"])
def test_a_folder_that_is_no_run_gives_one_sentence(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    if kind == "empty folder":
        folder.mkdir()
    good = leave(tmp_path / "a")
    assert main(["report", str(good), str(folder), "--output", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert str(folder) in told and "is no " in told and len(told.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_a_target_that_no_run_measures_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="accuracy"):
        from asgd.report import compare

        compare.run([str(leave(tmp_path / "a"))], str(tmp_path / "o"), "recall=0.5")


def test_a_folder_named_twice_is_one_run(tmp_path: Path) -> None:
    folder = leave(tmp_path / "a")
    assert len(load([str(folder), f"{folder}/.", str(folder)])) == 1


def test_the_table_says_what_it_took_to_reach_the_target(tmp_path: Path) -> None:
    runs = load([str(leave(tmp_path / "a", simulated=True))])
    shown = columns(runs, goals.parse("accuracy=0.9"))
    cells = {(column.group, column.title): column.cell(runs[0]) for column in shown}
    first = next(p for p in runs[0].points if (p.metrics["accuracy"] or 0) >= 0.9)
    assert cells["to accuracy >= 0.9", "updates"] == f"{first.updates:,}"
    assert cells["", "stopped"] == "epochs (simulated)" and cells["staleness", "p99"] == "5"
    assert sum(count for _, count in groups(shown)) == len(shown)
    never = columns(runs, goals.parse("accuracy=2"))
    assert next(c.cell(runs[0]) for c in never if c.group.startswith("to ")) == "-"


def test_more_runs_than_colours_differ_by_their_strokes() -> None:
    count = len(LIGHT.runs) * len(DASHES)
    assert len({style(LIGHT, index) for index in range(count)}) == count and len(LIGHT.runs) == len(DARK.runs)


def test_a_run_without_evaluations_or_pushes_still_gets_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with HistoryWriter(folder / "history.jsonl") as history:
        history.record(status(metrics={}, loss=None, staleness_histogram={}))
    assert main(["report", str(folder), "--output", str(tmp_path / "o")]) == 0
    page = Outline((tmp_path / "o" / "report.html").read_text())
    assert page.rows == 3
