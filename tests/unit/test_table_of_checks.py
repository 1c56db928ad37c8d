"""docs/reference/checks.md: every check of the notes has a row, and every test that a row names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "checks.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| check ")]
NUMBERS = {
    "A": "12345678",
    "S": "123",
    "E": "1234",
    "L": "1245",
    "P": "1234",
    "G": "1235",
    "N": "1234",
    "D": "12",
}


def test_every_check_of_the_notes_has_a_row() -> None:
    notes = {letter + number for letter, numbers in NUMBERS.items() for number in numbers}
    assert {row[2:4] for row in ROWS} >= notes


def test_every_row_says_what_was_expected_what_was_obtained_and_names_tests_that_exist() -> None:
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    for row in ROWS:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4 and all(cells) and "@" not in row, row
        named = set(re.findall(r"`(test_\w+)`", cells[3]))
        assert (named or cells[3].startswith("the same")) and named <= there, row
