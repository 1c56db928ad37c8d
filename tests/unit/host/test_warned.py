"""Warnings of users' code reach the person who started the job: each once, and not without bound."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from asgd.host import warned
from asgd.host.warned import PLACE_MOST, SAID_MOST, Warned, tell_warnings


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warned]:
    """This process tells its warnings as a worker does."""
    monkeypatch.setenv("ASGD_WARNINGS", str(tmp_path / "warnings.jsonl"))
    monkeypatch.setattr(warned, "_teller", None)
    factory = logging.getLogRecordFactory()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # NB: pytest records warnings, which hides them from everybody else.
        monkeypatch.setattr(warnings, "showwarning", lambda *args: None)
        tell_warnings()
        yield Warned(tmp_path / "warnings.jsonl", Path("runs/mine/logs"))
    logging.setLogRecordFactory(factory)


def test_warnings_and_log_lines_from_warning_on_are_said_with_their_place(told: Warned) -> None:
    warnings.warn("the rate\n  is large", stacklevel=1)
    logging.getLogger("mine").warning("bad row %d", 7)
    logging.getLogger("mine").error("worse")
    logging.getLogger("mine").info("fine")
    said = [line.partition(" (")[0] for line in told.new()]
    assert said == ["warning: UserWarning: the rate is large", "warning: bad row 7", "warning: worse"]
    warnings.warn("again", FutureWarning, stacklevel=1)
    (line,) = told.new()
    assert line.startswith("warning: FutureWarning: again (test_warned.py:")


def test_what_many_processes_say_is_said_once(told: Warned, tmp_path: Path) -> None:
    warnings.warn("alike", stacklevel=1)
    path = tmp_path / "warnings.jsonl"
    path.write_bytes(3 * path.read_bytes())
    assert len([*told.new()]) == 1
    assert [*told.new()] == []


def test_a_loop_that_warns_with_another_number_each_time_is_heard_a_few_times(told: Warned) -> None:
    for number in range(50):
        logging.warning("row %d", number)
    assert len([*told.new()]) == PLACE_MOST


def test_after_many_different_ones_the_logs_are_named_instead(told: Warned, tmp_path: Path) -> None:
    lines = [f'["text {number}", "file.py:{number}"]' for number in range(SAID_MOST + 5)]
    (tmp_path / "warnings.jsonl").write_text("\n".join(lines) + "\n")
    said = [*told.new()]
    assert len(said) == SAID_MOST + 1
    assert said[-1] == "there are more warnings, which stand in runs/mine/logs alone"
    assert [*told.new()] == []


def test_half_a_line_waits_for_its_end(told: Warned, tmp_path: Path) -> None:
    path = tmp_path / "warnings.jsonl"
    path.write_text('["first", "a.py:1"]\n["seco')
    assert [*told.new()] == ["warning: first (a.py:1)"]
    with path.open("a") as file:
        file.write('nd", "a.py:2"]\n')
    assert [*told.new()] == ["warning: second (a.py:2)"]


def test_a_long_text_is_cut_and_a_full_disk_or_a_wrong_format_is_no_error(
    told: Warned, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.warning("x" * 10_000)
    (line,) = told.new()
    assert len(line) < 400
    with monkeypatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)
        logging.warning("%d", "no number")
    monkeypatch.setattr(warned._teller, "_path", Path("/nowhere/at/all"))
    warnings.warn("unheard", stacklevel=1)
    assert [*told.new()] == []


def test_users_may_still_set_up_logging(told: Warned) -> None:
    root = logging.getLogger()
    before = [*root.handlers]
    root.handlers.clear()
    try:
        logging.basicConfig(stream=io.StringIO())
        assert len(root.handlers) == 1
    finally:
        root.handlers[:] = before


def test_outside_a_run_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGD_WARNINGS", raising=False)
    monkeypatch.setattr(warned, "_teller", None)
    before = warnings.showwarning, logging.getLogRecordFactory()
    tell_warnings()
    assert (warnings.showwarning, logging.getLogRecordFactory()) == before
