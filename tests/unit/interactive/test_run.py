"""`asgd.Run`: what it tells of a launcher and of a folder. The launchers here are made up, no process starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asgd.drivers.display import Display
from asgd.errors import AsgdError, RunFailed, UserError
from asgd.interactive import run as runs
from asgd.interactive.protocol import Ended
from asgd.interactive.run import Run
from asgd.interactive.table import rows_of
from asgd.report import summary as summaries
from asgd.report.history import HistoryWriter
from asgd.spec.status import Status
from tests.unit.report.statuses import status


class Pretended:
    """As `Launched`. `interrupts` is what comes of each look: a KeyboardInterrupt, or the end."""

    def __init__(self, output: Path | None, ended: Ended | None, *, interrupts: int = 0) -> None:
        self.output, self.status = output, None if ended is None else status()
        self.ended: Ended | None = None
        self.said = ["reached    accuracy 0.98"]
        self._end, self._interrupts = ended, interrupts
        self.asked = 0

    def follow(self, display: Display, timeout: float | None = None) -> bool:
        if self._interrupts > self.asked:
            raise KeyboardInterrupt
        self.ended = self._end
        return self.ended is not None

    def join(self, timeout: float | None = None) -> bool:
        self.ended = self._end
        return True

    def interrupt(self) -> None:
        self.asked += 1


def pretend(output: Path | None, ended: Ended | None, **more: Any) -> tuple[Run, Pretended]:
    launched = Pretended(output, ended, **more)
    return Run("mine", launched=launched, output=None, quiet=True), launched  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a run leaves, but for its model."""
    now = status()
    with HistoryWriter(tmp_path / "history.jsonl") as history:
        history.record(now)
    job = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "mine"}}
    (tmp_path / "job.yaml").write_text(json.dumps(job | {"spec": {"entrypoint": "a:b"}}))
    write_summary(tmp_path, now)
    yield tmp_path


def write_summary(folder: Path, now: Status, **more: Any) -> None:
    from msgspec.structs import replace

    from asgd.spec.types import JobSpec

    told = summaries.summarize(replace(now, **more), JobSpec(entrypoint="a:b"))
    summaries.write(told, folder / "summary.json")


def test_a_run_that_ended_well_is_returned_with_what_the_command_line_says_last(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = pretend(folder, Ended(0))
    assert not run.done and run.summary is None
    assert run.wait() is run and run.done
    assert capsys.readouterr().out == "reached    accuracy 0.98\n"
    assert run.wait() is run
    assert capsys.readouterr().out == "", "it is told once"
    assert run.metrics == {"accuracy": 0.981} and run.summary is not None
    assert repr(run) == f"<asgd.Run mine: finished, accuracy 0.981, 1,240 updates, {folder}>"


def test_a_run_that_fails_raises_its_last_sentence_and_code_with_the_run_attached(folder: Path) -> None:
    run, _ = pretend(
        folder, Ended(2, "spec.entrypoint: asgd_sent.py:mine failed: ValueError: no (<stdin>:3)")
    )
    with pytest.raises(RunFailed) as failed:
        run.wait()
    assert str(failed.value) == "spec.entrypoint: mine failed: ValueError: no (<stdin>:3)"
    assert (failed.value.exit_code, failed.value.run) == (2, run)
    assert isinstance(failed.value, AsgdError)
    assert "failed with 2" in repr(run)
    with pytest.raises(RunFailed):
        run.wait()


def test_an_end_that_has_no_sentence_is_told_by_the_summary(folder: Path) -> None:
    run, _ = pretend(folder, Ended(78))
    write_summary(folder, status(), stop_reason="diverged", stop_detail="by worker 1")
    with pytest.raises(RunFailed, match=r"^mine: training diverged; .*; by worker 1$"):
        run.wait()
    run, _ = pretend(folder, Ended(4))
    write_summary(folder, status(), evaluation_error="no metric")
    with pytest.raises(RunFailed, match=r"^mine: the last evaluation failed: no metric$"):
        run.wait()
    run, _ = pretend(None, Ended(75))
    with pytest.raises(RunFailed, match=r"^mine ended with 75$"):
        run.wait()


def test_one_ctrl_c_stops_in_order_and_returns_the_run_a_second_one_is_raised(folder: Path) -> None:
    write_summary(folder, status(), stop_reason="interrupted")
    run, launched = pretend(folder, Ended(130), interrupts=1)
    assert run.wait() is run
    assert launched.asked == 1 and "interrupted" in repr(run)
    run, launched = pretend(folder, Ended(130), interrupts=2)
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert launched.asked == 2 and run.done


def test_waiting_ends_after_its_time_and_can_go_on(folder: Path) -> None:
    run, launched = pretend(folder, None)
    with pytest.raises(TimeoutError, match="mine goes on after 3 s"):
        run.wait(3)
    launched._end = Ended(0)
    assert run.wait(3).done


def test_stop_asks_once_and_waits(folder: Path) -> None:
    run, launched = pretend(folder, Ended(130))
    assert run.stop(wait=False) is run and launched.asked == 1 and not run.done
    assert run.stop().done
    run.stop()
    assert launched.asked == 2, "an ended run is not asked"


def test_what_needs_the_end_or_the_beginning_says_so() -> None:
    run, _ = pretend(None, None)
    assert repr(run) == "<asgd.Run mine: starting>"
    with pytest.raises(UserError, match="mine goes on: its model is there when it has ended"):
        run.model()
    with pytest.raises(UserError, match="mine has no folder: it has not begun"):
        run.report()
    assert run.metrics == {} and len(run.history) == 0 and run._repr_png_() is None


def test_history_is_a_frame_where_pandas_is_and_rows_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(folder)
    frame = run.history
    assert [*frame.columns][:3] == ["seconds", "updates", "samples"]
    assert frame["accuracy"].dropna().tolist() == [0.981]
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = run.history
    assert (
        rows == rows_of(folder / "history.jsonl")
        and {"accuracy", "updates"} <= rows[0].keys() | rows[1].keys()
    )


def test_a_folder_is_opened_as_the_run_that_it_holds(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run.open(folder)
    assert run.done and run.name == "mine" and run.output == folder and run.wait() is run
    with pytest.raises(UserError, match="holds no model: the run ended before it had saved one"):
        run.state_dict()
    with pytest.raises(UserError, match="holds no run of asgd"):
        Run.open(tmp_path_factory.mktemp("empty"))


def test_a_notebook_shows_the_curves_and_a_page_can_be_written(folder: Path) -> None:
    run = Run.open(folder)
    drawn = run._repr_png_()
    assert drawn is not None and drawn[0].startswith(b"\x89PNG")
    assert run.report() == folder / "report" / "report.html"
    assert (folder / "report" / "report.png").exists()


def test_the_display_is_the_terminals_outside_of_notebooks(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runs, "Display", lambda **more: seen.append(more) or Display(**more))
    run, _ = pretend(folder, Ended(0))
    run.wait()
    assert seen == [{"quiet": True, "view": None}]
