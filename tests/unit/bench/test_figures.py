"""Ratios are taken within a round, and rounds that one side did not finish do not count."""

from __future__ import annotations

from asgd_bench import figures
from asgd_bench.figures import Spread
from asgd_bench.results import Table
from tests.unit.bench.builders import line


def test_a_machine_that_slows_down_cancels_in_the_ratio() -> None:
    ours, theirs = line("ours", 100, 50, 10), line("theirs", 50, 25, 5)
    assert figures.ratios(ours, theirs) == [2.0, 2.0, 2.0]


def test_of_times_the_smaller_is_the_better() -> None:
    assert figures.ratios(line("ours", 2), line("theirs", 6), less_is_better=True) == [3.0]


def test_a_round_that_one_side_did_not_finish_is_left_out() -> None:
    assert figures.ratios(line("ours", 4, None, 6), line("theirs", 2, 2, None)) == [2.0]


def test_median_and_extremes_and_nothing_of_nothing() -> None:
    assert figures.spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert figures.spread([]) is None


def test_the_reference_has_no_advantage_over_itself_nor_without_a_common_round() -> None:
    ours, theirs = line("ours", 4, None), line("theirs", None, 2)
    table = Table("t", "updates/s", [ours, theirs], "ours")
    assert figures.advantage(table, ours) is None
    assert figures.advantage(table, theirs) is None


def test_memory_is_the_most_of_all_rounds_and_cost_the_median() -> None:
    from asgd_bench.results import Line, Sample

    found = Line("x", [Sample(1, 0.3, 5.0), None, Sample(1, 0.1, 9.0), Sample(1, 0.2, 7.0)])
    assert figures.highest(found.samples) == 9.0
    assert figures.median_of(found, "cpu_seconds") == 0.2
