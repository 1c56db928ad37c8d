"""The table of what strategies hold in a server (docs/performance.md) names every strategy and its arrays."""

from __future__ import annotations

import re
from pathlib import Path

from asgd.algorithms.registry import names, strategy
from asgd.spec.types import JobSpec
from tests.checks.harness import job_spec

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "performance.md"


def rows() -> list[tuple[list[str], str, str]]:
    table = DOCUMENT.read_text().split("| strategy | arrays of 4 N | for each worker |\n|---|---|---|\n")[1]
    lines = [line.strip("| ").split(" | ") for line in table.split("\n\n")[0].splitlines()]
    return [(line[0].split(", "), line[1], line[2]) for line in lines]


def spec(name: str) -> JobSpec:
    plain, _, option = name.partition(" with ")
    own = {option.strip("`"): True} if option else {}
    return job_spec(algorithm={"name": plain, **own})


def test_the_table_says_what_each_strategy_keeps() -> None:
    told = set()
    for listed, arrays, per_worker in rows():
        for name in listed:
            rule = strategy(name.split()[0]).server(spec(name))
            number = re.match(r"\d", arrays)
            assert number and len(rule.slots) == int(number.group()), name
            assert rule.rounds == ("while a round is open" in per_worker), name
            told.add(name.split()[0])
    assert told == set(names())
