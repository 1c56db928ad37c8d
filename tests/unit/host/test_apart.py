"""A computation apart: its answer comes back, and nothing else of it."""

from __future__ import annotations

import os
import time

import pytest

from asgd.host.apart import apart

SECONDS = 60.0


def test_the_answer_comes_back_however_long_it_is() -> None:
    assert apart(lambda: b"x" * 1_000_000, SECONDS) == b"x" * 1_000_000


def test_what_it_changes_and_prints_stays_there(capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    def compute() -> bytes:
        calls.append(1)
        os.write(2, b"said")
        return bytes(len(calls))

    assert apart(compute, SECONDS) == bytes(1) and calls == []
    assert capfd.readouterr() == ("", "")


def _raises() -> bytes:
    raise ValueError("no")


def _ends() -> bytes:
    raise SystemExit(3)


@pytest.mark.parametrize("compute", [_raises, _ends])
def test_where_it_fails_there_is_no_answer(compute: object) -> None:
    assert apart(compute, SECONDS) == b""  # type: ignore[arg-type]


def test_it_is_ended_when_its_time_is_over() -> None:
    began = time.monotonic()
    assert apart(lambda: time.sleep(SECONDS) or b"late", 0.1) == b""
    assert time.monotonic() - began < SECONDS / 2
