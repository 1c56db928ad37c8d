"""Small pages for the tests of what is made of them."""

from __future__ import annotations

from asgd_bench.results import Case, Line, Page, Sample, Table


def line(name: str, *values: float | None, cpu: float | None = None) -> Line:
    """A system with one value a round; None is a round that it did not finish."""
    return Line(name, [None if value is None else Sample(value, cpu, 10.0) for value in values])


def page(*tables: Table, case: str = "update-path") -> Page:
    """A page with one case of `tables`."""
    machine = {"cores": "2"}
    return Page("0", machine, "today", 61.0, False, 3, [Case(case, "about it", 60.0, list(tables))])
