"""A page says the ratio first, leaves out columns without figures, and tells in one line who could not take part."""

from __future__ import annotations

import re
from pathlib import Path

from asgd_bench import page as pages
from asgd_bench import tables
from asgd_bench.plot import bars
from asgd_bench.results import Line, Table
from tests.unit.bench.builders import line, page

RACE = Table(
    "TCP", "updates/s", [line("ours", 40, 50, 60, cpu=0.02), line("peer", 20, 20, 20), Line("gone", [], "no wheel")],
    "ours",
)  # fmt: skip


def test_the_first_figure_of_a_row_is_how_much_better_ours_is() -> None:
    rows = tables.text(RACE).splitlines()
    assert rows[1].split() == ["ratio", "updates/s", "CPU", "ms", "each", "MiB"]
    assert rows[2].split()[:2] == ["1x", "ours"]
    assert re.match(r" +2\.50x \[2\.00\.\.3\.00\]  peer +20\.0 ", rows[3])


def test_who_could_not_take_part_is_one_line_with_the_reason_and_no_row() -> None:
    text = tables.text(RACE)
    assert text.count("gone") == 1
    assert "gone: no wheel" in text


def test_columns_that_nobody_fills_are_left_out() -> None:
    headings, _, _ = tables.cells(Table("t", "s", [Line("a", [], more={"bytes": "4"})]))
    assert headings == ["", "bytes"]


def test_markdown_rows_have_as_many_cells_as_their_heading() -> None:
    rows = [row for row in tables.markdown(RACE).splitlines() if row.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {6}


def test_a_bar_in_a_name_does_not_break_a_row() -> None:
    rows = tables.markdown(Table("t", "s", [line("a|b", 1.0)])).splitlines()
    assert any("a\\|b" in row for row in rows)


def test_numbers_keep_three_digits() -> None:
    assert [tables.number(x) for x in (12345.6, 45.67, 3.14159, 0.00123, 0)] == [
        "12,346", "45.7", "3.14", "0.0012", "0.00",
    ]  # fmt: skip


def test_the_plot_has_a_bar_for_whoever_has_a_ratio() -> None:
    assert bars(page(RACE)) == [("TCP", "peer", 2.5)]


def test_a_page_between_marks_replaces_only_what_stands_there(tmp_path: Path) -> None:
    target = tmp_path / "performance.md"
    target.write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n", encoding="utf-8")
    pages.write(page(RACE), target)
    text = target.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{pages.BEGIN}")
    assert text.endswith(f"{pages.END}\nafter\n")
    assert "old" not in text
    assert "2.50x" in text
    assert (tmp_path / "performance.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_html_carries_its_plot_and_escapes_names(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    pages.write(page(Table("a < b", "s", [line("ours", 1.0), line("<peer>", 2.0)], "ours")), target)
    text = target.read_text(encoding="utf-8")
    assert "&lt;peer&gt;" in text
    assert "<peer>" not in text
    assert "<svg" in text


def test_the_page_says_how_long_it_took() -> None:
    assert "took 1 min 1 s" in pages.footer(page(RACE))
