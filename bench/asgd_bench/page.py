"""A whole benchmark as one page: text for the terminal, Markdown or HTML with a plot for `--output`."""

from __future__ import annotations

import html
from pathlib import Path

from asgd_bench import tables
from asgd_bench.plot import svg
from asgd_bench.results import Case, Page


def duration(seconds: float) -> str:
    """`4 s`, `12 min 30 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def case_text(case: Case) -> str:
    """One case for a terminal."""
    head = f"{case.name}: {case.about}" + (f" ({duration(case.seconds)})" if case.seconds else "")
    if case.failure:
        return f"{head}\n  left out: {case.failure}"
    return "\n\n".join([head, *(tables.text(table) for table in case.tables)])


def _took(case: Case) -> str:
    return f"Took {duration(case.seconds)}." if case.seconds else ""


def footer(page: Page) -> str:
    """How long it took and how it was measured, in one line."""
    how = f"medians of {page.rounds} interleaved rounds [min..max]"
    return f"asgd {page.version}{', --quick' if page.quick else ''}: {how}; took {duration(page.seconds)}"


def markdown(page: Page, plot: str = "") -> str:
    """The page as Markdown; `plot` is the address of its picture."""
    machine = ", ".join(f"{name} {value}" for name, value in page.machine.items())
    parts = [f"{footer(page)}, from {page.started} on: {machine}."]
    if plot:
        parts.append(f"![How many times faster, on a logarithmic axis]({plot})")
    for case in page.cases:
        parts.append(f"### {case.name}\n\n{case.about[:1].upper()}{case.about[1:]}. {_took(case)}")
        if case.failure:
            parts.append(f"Left out: {case.failure}.")
        parts += [tables.markdown(table) for table in case.tables]
    return "\n\n".join(parts) + "\n"


def as_html(page: Page, picture: str) -> str:
    """The page as one HTML file with the SVG `picture` inside."""
    parts = [f"<h1>asgd bench</h1><p>{html.escape(footer(page))}, {html.escape(page.started)}</p>", picture]
    for case in page.cases:
        parts.append(f"<h2>{html.escape(case.name)}</h2><p>{html.escape(case.about)}</p>")
        if case.failure:
            parts.append(f"<p>Left out: {html.escape(case.failure)}</p>")
        for table in case.tables:
            headings, rows, remarks = tables.cells(table)
            body = "".join(_html_row(row, "td") for row in rows)
            title = html.escape(tables.title(table))
            parts.append(f"<table><caption>{title}</caption>{_html_row(headings, 'th')}{body}</table>")
            parts += [f"<p>{html.escape(remark)}</p>" for remark in [table.note, *remarks] if remark]
    style = "body{font:15px sans-serif;margin:2em}td,th{padding:2px 10px;text-align:right}caption{text-align:left}"
    return (
        f'<!doctype html><meta charset="utf-8"><title>asgd bench</title><style>{style}</style>'
        + "\n".join(parts)
    )


def _html_row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


BEGIN, END = "<!-- asgd bench: begin -->", "<!-- asgd bench: end -->"


def write(page: Page, path: Path) -> None:
    """Writes .html, or Markdown with a picture beside it. Raises OSError.

    In a Markdown file that has the two marks BEGIN and END, only what stands between them is replaced.
    """
    picture = svg(page)
    if path.suffix == ".html":
        path.write_text(as_html(page, picture), encoding="utf-8")
        return
    beside = path.with_suffix(".svg")
    if picture:
        beside.write_text(picture, encoding="utf-8")
    body = markdown(page, beside.name if picture else "")
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, mark, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    whole = f"{before}{BEGIN}\n\n{body}\n{END}{after}" if mark and end else body
    path.write_text(whole, encoding="utf-8")
