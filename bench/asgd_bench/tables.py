"""Tables as text and as Markdown: the ratio first, then median and spread, then what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asgd_bench import figures
from asgd_bench.figures import Spread
from asgd_bench.results import Line, Table

Column = tuple[str, Callable[[Line], str]]


def number(value: float) -> str:
    """Three significant digits or so, thousands set apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 0.1 or value == 0:
        return f"{value:.{2 if abs(value) < 10 else 1}f}"
    return f"{value:.2g}"


def times(ratio: Spread | None) -> str:
    """`1.52x [1.40..1.61]`; a dash for nothing."""
    return "–" if ratio is None else f"{ratio.median:.2f}x [{ratio.low:.2f}..{ratio.high:.2f}]"


def spread(found: Spread | None) -> str:
    """`39.0 [35.0..46.0]`; a single figure without brackets, a dash for nothing."""
    if found is None:
        return "–"
    if found.low == found.high:
        return number(found.median)
    return f"{number(found.median)} [{number(found.low)}..{number(found.high)}]"


def optional(value: float | None, scale: float = 1.0) -> str:
    """A figure that may be missing."""
    return "–" if value is None else number(value * scale)


def columns(table: Table) -> list[Column]:
    """What the table shows: columns that no line fills are left out."""
    found: list[Column] = [("", lambda line: line.name)]
    if table.reference:
        # NB: the first figure of a row is how much better the reference is; the reference's own cell names it.
        found.insert(0, ("ratio", lambda line: _ratio(table, line)))
    if any(line.samples for line in table.lines):
        found.append((table.unit, lambda line: spread(figures.spread(figures.values(line)))))
    samples = [sample for line in table.lines for sample in line.samples if sample]
    if any(sample.cpu_seconds is not None for sample in samples):
        found.append(("CPU ms each", lambda line: optional(figures.median_of(line, "cpu_seconds"), 1000)))
    if any(sample.memory_mib is not None for sample in samples):
        found.append(("MiB", lambda line: optional(figures.highest(line.samples))))
    for title in dict.fromkeys(title for line in table.lines for title in line.more):
        found.append((title, lambda line, title=title: line.more.get(title, "")))  # type: ignore[misc]
    return found


def _ratio(table: Table, line: Line) -> str:
    return "1x" if line.name == table.reference else times(figures.advantage(table, line))


def cells(table: Table) -> tuple[list[str], list[list[str]], list[str]]:
    """(headings, rows, remarks): a system without a single figure is a remark of one line instead of a row."""
    shown = columns(table)
    rows, remarks = [], []
    for line in table.lines:
        if figures.values(line) or line.more:
            rows.append([cell(line) for _, cell in shown])
        if line.failure:
            remarks.append(f"{line.name}: {line.failure}")
    return [title for title, _ in shown], rows, remarks


def text(table: Table) -> str:
    """For a terminal: columns aligned, names to the left and figures to the right."""
    headings, rows, remarks = cells(table)
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    name = headings.index("")
    lines = [title(table)]
    for row in [headings, *rows]:
        parts = [
            cell.ljust(width) if i == name else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(parts).rstrip())
    return "\n".join(
        [*lines, *(f"  {remark}" for remark in remarks), *([f"  {table.note}"] if table.note else [])]
    )


def markdown(table: Table) -> str:
    """For a page of documentation."""
    headings, rows, remarks = cells(table)
    lines = [f"**{title(table)}**", "", _row(headings), _row(["---"] * len(headings))]
    lines += [_row(row) for row in rows]
    if table.note:
        lines += ["", table.note]
    lines += ["", *(f"* {remark}" for remark in remarks)] if remarks else []
    return "\n".join(lines)


def title(table: Table) -> str:
    """The title, and what its ratio means."""
    if not table.reference:
        return table.title
    if table.less_is_better:
        return f"{table.title} (ratio: the line's {table.unit} / those of {table.reference})"
    return f"{table.title} (ratio: {table.unit} of {table.reference} / the line's)"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
