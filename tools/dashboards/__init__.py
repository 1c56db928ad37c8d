"""The chart's dashboards for Grafana: job, fleet, operator. Each is a list of rows of panels; the layout is made here.

One source, so that units, legends, links and variables are alike in all; `make generate` writes the JSON that the
chart ships. `queries` is what tests run against a Prometheus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from . import fleet, job, operator
from .board import Json

BOARDS = {"asgd-job": job.board, "asgd-fleet": fleet.board, "asgd-operator": operator.board}
"""By uid, which is also the file's name; uids are stable, for people link to them."""


def files() -> dict[str, str]:
    """{name of the file: its text}."""
    return {f"{uid}.json": json.dumps(make(), indent=1) + "\n" for uid, make in BOARDS.items()}


def panels(board: Json) -> Iterator[Json]:
    """Those that show data."""
    yield from (panel for panel in board["panels"] if panel["type"] not in ("row", "text"))


def queries(board: Json, variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(title of the panel, PromQL) of every query of a board: panels and marks."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"], variables)
    for mark in board["annotations"]["list"]:
        if "expr" in mark:
            yield mark["name"], filled(mark["expr"], variables)


def filled(expr: str, variables: dict[str, str]) -> str:
    """As Grafana sends it. Raises KeyError on a variable that is not given."""

    def value(match: re.Match[str]) -> Any:
        return variables[match[1]]

    return re.sub(r"\$([A-Za-z_]\w*)", value, expr)
