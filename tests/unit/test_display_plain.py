"""What the display writes where there is no terminal, and that no trouble of the screen ends a training."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from asgd.drivers.display import Display, plain_line
from asgd.spec.status import Notice
from asgd.spec.types import Metric, StopAfter
from tests.unit.report.statuses import status, trouble, worker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_plain_line_says_all_a_person_asks_for() -> None:
    assert plain_line(status()) == (
        "12.3s  updates 1,240  samples 39,680 (epoch 27.6/40)  8,412 samples/s  loss 0.084  accuracy 0.981"
        "  staleness 3.0 (p99 5)  workers 4"
    )


def test_a_plain_line_says_the_updates_of_each_of_several_models() -> None:
    told = replace(status(), strategy_figures={"generatorUpdates": 240.0, "criticUpdates": 1000.0})
    assert "  updates 1,240 (generator 240, critic 1,000)  samples " in plain_line(told)


def test_a_plain_line_names_troubles_only_when_there_are_any() -> None:
    assert "refused" not in plain_line(status()) and "lost" not in plain_line(status())
    line = plain_line(trouble(status()))
    assert line.endswith("workers 3 (1 lost)  refused 3 stale  lost 12 updates  restarts server 1, worker 1")


def test_a_replaced_worker_is_counted_once_and_no_longer_as_lost() -> None:
    members = [worker(0), worker(1, "lost"), worker(1, incarnation=1)]
    assert plain_line(status(members)).endswith("workers 2")


def test_what_a_job_waits_for_stands_at_the_end_of_its_line() -> None:
    members = [worker(0), worker(1, "stalled", ended=None)]
    told = "worker 1 holds 64 samples and has pushed nothing for 40 s; it is given up after 60 s"
    line = plain_line(status(members, waiting_for=told))
    assert line.endswith(f"workers 2 (1 stalled)  waiting: {told}")


def test_what_was_given_up_is_noted_once_also_when_quiet() -> None:
    stream = io.StringIO()
    with Display(stream, quiet=True, clock=Clock()) as display:
        for told in (
            [],
            [Notice(1, "worker 1 hung")],
            [Notice(1, "worker 1 hung"), Notice(2, "worker 0 hung")],
        ):
            for _ in range(3):
                display.update(status(notices=told))
    assert stream.getvalue().splitlines()[:-1] == ["worker 1 hung", "worker 0 hung"]


def test_each_goal_of_the_stop_rule_stands_beside_its_figure() -> None:
    rule = StopAfter(updates=2000, samples=64000, seconds=90, metric=Metric(name="accuracy", at_least=0.98))
    line = plain_line(status(stop_after=rule))
    assert line.startswith("12.3s/1m30s  updates 1,240/2,000  samples 39,680/64,000 (epoch 27.6)")


def test_lines_come_at_most_every_two_seconds_and_only_after_a_change() -> None:
    stream, clock = io.StringIO(), Clock()
    display = Display(stream, clock=clock)
    for second, updates in [(0.0, 1), (1.9, 2), (2.0, 3), (4.5, 3), (5.0, 4)]:
        clock.now = 100.0 + second
        display.update(status(updates=updates, seconds=second))
    times = [line.split()[0] for line in stream.getvalue().splitlines()]
    assert times == ["0.0s", "2.0s", "5.0s"]


def test_the_last_status_is_shown_at_the_end_even_within_two_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    with Display(stream, clock=clock) as display:
        display.update(status(updates=1))
        display.update(status(updates=2, phase="finished", stop_reason="epochs"))
    assert stream.getvalue().splitlines()[1].startswith("12.3s  finished (epochs)  updates 2")


def test_quiet_shows_notes_that_matter_and_the_end_alone() -> None:
    stream = io.StringIO()
    with Display(stream, quiet=True, clock=Clock()) as display:
        display.update(status(updates=1))
        display.note("checkpoint written", matters=False)
        display.note("worker 1 was lost")
        display.update(status(updates=2))
    lost, end = stream.getvalue().splitlines()
    assert lost == "worker 1 was lost"
    assert "updates 2" in end


def test_text_that_the_stream_cannot_spell_is_replaced_not_raised() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Display(stream).note("worker 1 → lost")
    assert raw.getvalue() == b"worker 1 ? lost\n"


def test_a_stream_closed_on_our_side_ends_the_display_quietly() -> None:
    stream = io.StringIO()
    display = Display(stream)
    stream.close()
    display.note("nobody reads this")
    display.close()


_PROGRAM = """
import sys
from asgd.drivers.display import Display
from tests.unit.report.statuses import status
with Display(clock=iter(range(0, 10_000, 3)).__next__) as display:
    for updates in range(2_000):
        display.update(status(updates=updates))
print("trained on", file=sys.stderr)
print("rich" in sys.modules, file=sys.stderr)
"""


def _start(**streams: int) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TERM": "xterm-256color"}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stderr=subprocess.PIPE, env=environment, **streams
    )


def test_a_reader_that_goes_away_does_not_end_the_training_and_rich_is_not_loaded_for_a_pipe() -> None:
    process = _start(stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith(b"12.3s  updates 0")
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(30) == 0
    assert said.splitlines() == ["trained on", "False"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_that_goes_away_does_not_end_the_training() -> None:
    ours, theirs = os.openpty()
    process = _start(stdout=theirs)
    os.close(theirs)
    assert os.read(ours, 64)
    os.close(ours)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait(30) == 0
    assert said.splitlines() == ["trained on", "True"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, Display(terminal) as display:
        reader = threading.Thread(target=lambda: shown.append(os.read(ours, 4096)))
        shown: list[bytes] = []
        reader.start()
        display.update(status())
        reader.join(10)
    os.close(ours)
    assert shown[0].decode().startswith("12.3s  updates 1,240")
    assert b"\x1b" not in shown[0]
