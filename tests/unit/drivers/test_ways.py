"""Which way a process of a run is started, and how long its start may take."""

from __future__ import annotations

import io
import os

import pytest

from asgd.drivers.display import Display
from asgd.drivers.local.patience import Patience
from asgd.drivers.local.ways import RESTARTS, Standing, after_end, way
from asgd.errors import UserError

READY, IMPORTING, OUT = Standing.READY, Standing.IMPORTING, Standing.OUT


@pytest.mark.parametrize(
    ("standings", "place"),
    [
        ([READY, READY], 0),
        ([IMPORTING, READY], 1),
        ([OUT, READY], 1),
        ([READY, IMPORTING], 0),
        ([OUT, IMPORTING], None),
        ([OUT], None),
    ],
)
def test_a_process_is_forked_from_the_first_that_is_ready_and_else_started_anew(
    standings: list[Standing], place: int | None
) -> None:
    assert way(standings, {"ASGD_INDEX": "1"}) == place


def test_a_process_with_a_variable_that_libraries_may_read_is_started_anew() -> None:
    assert way([READY], {"ASGD_INDEX": "1", "CUDA_VISIBLE_DEVICES": "1"}) is None


def test_a_fork_server_that_keeps_dying_is_given_up() -> None:
    assert [after_end(ends) for ends in range(1, RESTARTS + 2)] == [IMPORTING] * RESTARTS + [OUT]


def test_a_wait_for_what_never_comes_ends_at_the_deadline_with_what_it_waited_for() -> None:
    patience = Patience(Display(io.StringIO()), 0.05)
    reader, writer = os.pipe()
    try:
        with pytest.raises(
            UserError, match=r"importing train\.py has not ended .*startupDeadlineSeconds allows 0\.05 s"
        ):
            patience.wait("importing train.py", lambda: False, lambda: [reader])
    finally:
        os.close(reader)
        os.close(writer)


def test_a_wait_is_told_more_and_more_rarely() -> None:
    now = [0.0]
    screen = io.StringIO()
    display = Display(screen, clock=lambda: now[0])
    for second in range(60):
        now[0] = float(second)
        display.waiting(f"importing train.py: {second} s")
    assert screen.getvalue().splitlines() == [
        f"importing train.py: {second} s" for second in (0, 2, 6, 14, 30)
    ]


def test_a_quiet_run_says_nothing_of_its_waits() -> None:
    screen = io.StringIO()
    Display(screen, quiet=True).waiting("importing train.py: 3 s")
    assert screen.getvalue() == ""
