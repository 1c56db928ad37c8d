"""docs/reference/reasons.md: every reason of a condition and of an event has a line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

from asgd_operator.constants import REASONS, UNKNOWN_REASON, EventReason

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "reference/reasons.md").read_text(encoding="utf-8")
RUNBOOK = (DOCS / "runbook.md").read_text(encoding="utf-8")
ANCHOR = re.compile(r'<a id="(\w+)"></a>')
CONDITIONS, EVENTS = PAGE.split("## Events")


def rows(text: str) -> list[list[str]]:
    lines = [line for line in ANCHOR.sub("", text).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_reason_of_every_condition_has_a_line_that_says_what_it_means_and_what_to_do() -> None:
    found = {}
    for reason, conditions, means, todo in rows(CONDITIONS):
        found[reason.strip("`")] = set(conditions.split(", "))
        assert means and (todo or means.startswith(("see ", "it is over: see "))), reason
    for condition, reasons in REASONS.items():
        missing = {reason for reason in reasons if condition.value not in found.get(reason, set())}
        assert not missing, f"docs/reference/reasons.md has no line for {condition.value}: {sorted(missing)}"
    assert UNKNOWN_REASON in found
    known = {reason: {str(kind) for kind in REASONS if reason in REASONS[kind]} for reason in found}
    assert {reason: found[reason] for reason in found if reason != UNKNOWN_REASON} == {
        reason: kinds for reason, kinds in known.items() if reason != UNKNOWN_REASON
    }, "a line of a reason that is no more"


def test_each_reason_is_one_link_away_from_its_condition_in_the_runbook() -> None:
    assert ANCHOR.findall(PAGE) == [row[0].strip("`") for row in rows(CONDITIONS)], (
        "each line has its address"
    )
    for condition, reasons in REASONS.items():
        section = RUNBOOK.split(f"\n### {condition.value}\n")[1].split("\n### ")[0]
        linked = re.findall(r"\[(\w+)\]\(reference/reasons\.md#(\w+)\)", section)
        assert all(name == anchor for name, anchor in linked)
        assert {name for name, _ in linked} == {str(reason) for reason in reasons}, condition.value


def test_every_event_has_a_line() -> None:
    told = {reason for row in rows(EVENTS) for reason in re.findall(r"`(\w+)`", row[0])}
    assert told == {reason.value for reason in EventReason}
