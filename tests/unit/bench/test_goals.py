"""Goals are told of only where the page has both lines, and judged by the median of the rounds."""

from __future__ import annotations

from asgd.bench.goals import check
from asgd.bench.results import Table
from tests.unit.bench.builders import line, page

TITLE = "TCP, 10M parameters, 2 workers"


def test_a_goal_is_met_by_the_median_and_a_page_without_it_says_nothing() -> None:
    lines = [line("ours", 9.0, 14.5, 20.0), line("torch RPC, TCP", 10.0, 10.0, 10.0)]
    found = check(page(Table(TITLE, "updates/s", lines, "ours")))
    assert found is not None
    (only,) = found.tables[0].lines
    assert only.more == {"goal": "1.4x", "": "met"}
    slower = [line("ours", 9.0, 13.9, 20.0), lines[1]]
    again = check(page(Table(TITLE, "updates/s", slower, "ours")))
    assert again is not None
    assert again.tables[0].lines[0].more[""] == "not met"
    assert check(page(Table("else", "updates/s", lines, "ours"))) is None
