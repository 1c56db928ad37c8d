"""Goals are told of only where the page has both lines, and judged by the median of the rounds."""

from __future__ import annotations

import pytest

from asgd_bench.cases import all_cases, encoders, memory, scaling, startup, stragglers, update_path
from asgd_bench.codecs import CODECS
from asgd_bench.comparison import Ddp
from asgd_bench.goals import GOALS, check
from asgd_bench.judging import Goal, find, judge
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Table
from tests.unit.bench.builders import line, page

TITLE = "TCP, 10M parameters, 2 workers"


def judged(goal: Goal, *tables: Table) -> Line:
    found = judge(goal, find(page(*tables, case="c")))
    assert found is not None
    return found


def test_a_goal_is_met_by_the_median_and_a_page_without_it_says_nothing() -> None:
    lines = [line("ours", 9.0, 14.5, 20.0), line("torch RPC, TCP", 10.0, 10.0, 10.0)]
    found = check(page(Table(TITLE, "updates/s", lines, "ours")))
    assert found is not None
    (only,) = found.tables[0].lines
    assert only.more == {"goal": ">= 1.40", "": "met"}
    slower = [line("ours", 9.0, 13.9, 20.0), lines[1]]
    again = check(page(Table(TITLE, "updates/s", slower, "ours")))
    assert again is not None
    assert again.tables[0].lines[0].more[""] == "not met"
    assert check(page(Table("else", "updates/s", lines, "ours"))) is None


@pytest.mark.parametrize(("values", "verdict"), [((0.1, 0.3, 9.0), "met"), ((0.1, 0.4, 0.4), "not met")])
def test_a_figure_without_a_rival_is_held_against_its_own_bound(
    values: tuple[float, ...], verdict: str
) -> None:
    found = judged(Goal("c", "t", "ours", 0.3, most=True), Table("t", "s", [line("ours", *values)]))
    assert found.more == {"goal": "<= 0.30", "": verdict}
    assert found.name == "t: ours, s"


def test_ours_of_one_table_is_held_against_a_share_of_ours_in_another() -> None:
    slow = Table("slow", "samples/s", [line("ours", 80.0, 60.0, 82.0)])
    healthy = Table("healthy", "samples/s", [line("ours", 100.0, 100.0, 100.0)])
    found = judged(Goal("c", "slow", "ours", 0.97, "ours", "healthy", 0.8), slow, healthy)
    assert [sample.value for sample in found.samples if sample] == pytest.approx([1.0, 0.75, 1.025])
    assert found.more[""] == "met"


@pytest.mark.parametrize(("codec", "verdict"), [((98.0, 99.1, 98.5), "met"), ((98.0, 99.9, 98.4), "not met")])
def test_points_are_the_distance_of_two_medians(codec: tuple[float, ...], verdict: str) -> None:
    table = Table("t", "%", [line("fp32", 99.0, 98.9, 99.5), line("int8", *codec)])
    found = judged(Goal("c", "t", "int8", -0.5, "fp32", points=True), table)
    assert found.more[""] == verdict
    assert len(found.samples) == 1


def test_fewer_bytes_are_better() -> None:
    table = Table("t", "bytes", [line("fp32", 400.0), line("int8", 100.0)], "fp32", less_is_better=True)
    found = judged(Goal("c", "t", "int8", 3.9, "fp32"), table)
    assert [sample.value for sample in found.samples if sample] == [4.0]


def test_no_goal_stands_there_twice() -> None:
    assert len(set(GOALS)) == len(GOALS)


def lines_of_cases() -> dict[str, set[str]]:
    """{case: the names of the lines that it can have}, of those whose lines are known beforehand."""
    plan = Plan(5, quick=False, progress=lambda text: None)
    path = [
        *(update_path.over_tcp(plan, 10_000_000, 2)),
        *(update_path.over_tcp(plan, 10_000_000, 4)),
        *(update_path.same_host(plan, 10_000_000)),
    ]
    return {
        "update-path": {name for name, _ in path},
        "codecs": set(CODECS),
        "encoders": set(encoders.KINDS),
        "slow-link": {"ours", *(f"ours, {name}" for name in CODECS)},
        "stragglers": {*stragglers.VARIANTS, Ddp.name},
        "scaling": {f"{count} workers" for _, _, _, counts, _ in scaling.PROBLEMS for count in counts},
        "server-memory": set(memory.KINDS),
        "startup": {name for name, _, _ in startup.COMMANDS},
    }


def test_goals_are_about_lines_that_their_cases_have() -> None:
    known = lines_of_cases()
    lost = [
        goal
        for goal in GOALS
        if not {goal.ours, goal.theirs} - {""} <= known.get(goal.case, {goal.ours, goal.theirs})
    ]
    assert not lost
    assert {goal.case for goal in GOALS} <= set(all_cases())
