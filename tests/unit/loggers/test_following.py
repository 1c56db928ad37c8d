"""A history becomes points, each once: over resumed runs, work that is undone, and a library that fails for a while."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from asgd.errors import UserError
from asgd.loggers.following import Following
from asgd.loggers.kept import Kept
from asgd.loggers.kinds import check_installed, missing
from asgd.loggers.points import Back, Point, Points
from asgd.report.lines import AnyLine, End, Evaluation, Progress, Run
from asgd.spec.status import StalenessView
from asgd.spec.types import Logger, MLflow, TensorBoard, WandB


def at(updates: int, loss: float = 1.0) -> Progress:
    return Progress(t=updates / 10, updates=updates, samples=8 * updates, epochs=1.0, loss=loss, workers=2)


def measured(updates: int, accuracy: float) -> Evaluation:
    return Evaluation(t=updates / 10, updates=updates, samples=8 * updates, metrics={"accuracy": accuracy})


class History:
    """A file that grows."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"

    def add(self, *lines: AnyLine) -> None:
        with self.path.open("ab") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)


class Board:
    """A sink; a `network` that is away raises."""

    def __init__(self, undoes: bool = True, highest: int = -1) -> None:
        self.undoes, self.highest, self.network = undoes, highest, True
        self.rows: list[tuple[int, str]] = []
        self.opened = 0
        self.ended: str | None = None

    def open(self) -> Board:
        if not self.network:
            raise ConnectionError("no route to the board")
        self.opened += 1
        return self

    def back(self, updates: int) -> None:
        self.rows = [row for row in self.rows if row[0] <= updates]

    def write(self, points: Sequence[tuple[float, Point]]) -> None:
        if not self.network:
            raise ConnectionError("no route to the board")
        for _, point in points:
            kind = "evaluation" if "evaluation/accuracy" in point.values else "progress"
            self.rows.append((point.updates, kind))

    def close(self, stop_reason: str) -> None:
        self.ended = stop_reason


def test_series_have_the_same_names_everywhere_and_only_finite_values() -> None:
    staleness = StalenessView(1.5, 1, 7, 9)
    line = Progress(t=1, updates=3, samples=24, loss=math.nan, staleness=staleness, lost_updates=2, refused=1)
    (point,) = Points().take(line)
    assert isinstance(point, Point) and point.updates == 3
    assert "train/loss" not in point.values
    assert point.values["pushes/staleness_mean"] == 1.5 and point.values["pushes/lost_updates"] == 2
    assert [*Points().take(Evaluation(t=1, updates=3, samples=24, metrics={"accuracy": None}))] == []


def test_no_series_has_a_count_of_updates_twice_unless_the_job_went_back() -> None:
    points = Points()
    lines = [
        at(4),
        measured(3, 0.5),
        at(4),
        measured(3, 0.5),
        measured(3, 0.6),
        measured(2, 0.9),
        at(8),
        at(6),
        at(9),
    ]
    told = [item for line in lines for item in points.take(line)]
    assert [(type(item).__name__, item.updates) for item in told] == [
        ("Point", 4), ("Point", 3), ("Point", 3), ("Point", 8), ("Back", 5), ("Point", 6), ("Point", 9),
    ]  # fmt: skip
    assert Back(5) in told


@pytest.mark.parametrize("undoes", [True, False])
def test_a_run_that_is_resumed_from_before_its_end_has_each_step_once(tmp_path: Path, undoes: bool) -> None:
    history, board = History(tmp_path), Board(undoes)
    history.add(Run(t=0, job="j", algorithm="asgd"), at(10), at(20), measured(20, 0.5), at(30), End(t=3))
    first = Following(history.path, Kept("k"), board.open, lambda: 0.0)
    while first.look():
        pass
    first.kept.save(tmp_path / "kept.json")
    history.add(
        Run(t=3, job="j", algorithm="asgd"), at(15), measured(20, 0.5), at(25), at(35), measured(35, 0.7)
    )
    again = Following(history.path, Kept.load(tmp_path / "kept.json"), board.open, lambda: 0.0)
    while again.look():
        pass
    again.close()
    assert len(board.rows) == len({*board.rows}), board.rows
    progress = sorted(updates for updates, kind in board.rows if kind == "progress")
    assert progress == ([10, 15, 25, 35] if undoes else [10, 20, 30, 35])
    assert sorted(updates for updates, kind in board.rows if kind == "evaluation") == [20, 35]


def test_what_could_not_be_written_is_written_when_the_library_works_again(tmp_path: Path) -> None:
    history, board = History(tmp_path), Board(undoes=False)
    history.add(at(10), measured(10, 0.5))
    following = Following(history.path, Kept("k"), board.open, lambda: 0.0)
    assert following.look()
    board.network = False
    history.add(at(20), measured(20, 0.6))
    for _ in range(3):
        with pytest.raises(ConnectionError):
            following.look()
        following.give_up()
    board.network = True
    history.add(at(30), End(t=4, stop_reason="epochs"))
    assert following.look() and not following.look()
    following.close()
    assert board.rows == [
        (10, "progress"),
        (10, "evaluation"),
        (20, "progress"),
        (20, "evaluation"),
        (30, "progress"),
    ]
    assert (board.opened, board.ended) == (2, "epochs")


def test_what_got_through_before_a_failure_is_not_there_twice(tmp_path: Path) -> None:
    history = History(tmp_path)

    class Torn(Board):
        """Fails once, behind its first row of the second call."""

        calls = 0

        def write(self, points: Sequence[tuple[float, Point]]) -> None:
            self.calls += 1
            super().write(points[:1] if self.calls == 2 else points)
            if self.calls == 2:
                raise OSError("the disk is full")

    board = Torn()
    history.add(at(10))
    following = Following(history.path, Kept("k"), board.open, lambda: 0.0)
    assert following.look()
    history.add(at(20), at(30))
    with pytest.raises(OSError, match="full"):
        following.look()
    following.give_up()
    assert following.look()
    assert board.rows == [(10, "progress"), (20, "progress"), (30, "progress")]


def test_a_line_that_is_being_written_waits_and_a_file_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    history, board = History(tmp_path), Board()
    following = Following(history.path, Kept("k"), board.open, lambda: 0.0)
    assert not following.look()
    text = msgspec.json.encode(at(10)) + b"\n"
    history.path.write_bytes(text[:20])
    assert not following.look() and board.rows == []
    history.path.write_bytes(text)
    assert following.look() and board.rows == [(10, "progress")]


def test_a_store_that_has_more_than_this_logger_knows_is_given_nothing_twice(tmp_path: Path) -> None:
    history, board = History(tmp_path), Board(undoes=False, highest=20)
    history.add(at(10), at(20), at(30))
    assert Following(history.path, Kept("k"), board.open, lambda: 0.0).look()
    assert board.rows == [(30, "progress")]


def test_points_that_come_late_are_dated_by_the_history_s_own_seconds(tmp_path: Path) -> None:
    history, dates = History(tmp_path), list[float]()

    class Dated(Board):
        def write(self, points: Sequence[tuple[float, Point]]) -> None:
            dates.extend(when for when, _ in points)

    history.add(at(10), at(20), at(40))
    Following(history.path, Kept("k"), Dated().open, lambda: 1000.0).look()
    assert dates == [997.0, 998.0, 1000.0]


def test_a_library_that_is_not_installed_is_named_with_its_remedy() -> None:
    loggers = [Logger(tensorboard=TensorBoard()), Logger(mlflow=MLflow()), Logger(wandb=WandB())]

    def find(name: str) -> object:
        return None if name == "mlflow" else name

    assert list(missing(loggers, find)) == [1]
    with pytest.raises(UserError) as refusal:
        check_installed(loggers, find)
    assert str(refusal.value) == (
        "spec.logging[1].mlflow: the library mlflow is not installed here; `pip install asgd-operator[loggers]` brings"
        " it, or leave this logger out"
    )
    check_installed([], find)
