"""The frame of a dashboard: variables, links between the three, marks, and panels laid out row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
Row = tuple[str, Sequence[Json]]
"""A question as its title, and the panels that answer it; each has its width and height."""


def frame(
    uid: str, title: str, says: str, variables: Sequence[Json], marks: Sequence[Json], rows: Sequence[Row]
) -> Json:
    """The whole document. Panels are numbered in order, so an id changes only when a panel is put before it."""
    return {
        "uid": uid,
        "title": title,
        "description": says,
        "tags": ["asgd"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards", "tags": ["asgd"], "title": "asgd", "icon": "external link", "asDropdown": False,
                "includeVars": True, "keepTime": True, "targetBlank": False,
            }
        ],
        "templating": {"list": [_datasource(), *variables]},
        "annotations": {"list": list(marks)},
        "panels": list(_placed(rows)),
    }  # fmt: skip


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def variable(name: str, label: str, query: str) -> Json:
    """A choice of one value of a label."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2, "sort": 1,
        "includeAll": False, "multi": False,
    }  # fmt: skip


def several(name: str, label: str, query: str) -> Json:
    """A choice of some values of a label, at first all."""
    everything = {"text": "All", "value": "$__all"}
    return variable(name, label, query) | {
        "includeAll": True, "multi": True, "allValue": ".*", "current": everything
    }  # fmt: skip


def mark(name: str, colour: str, expr: str, title: str) -> Json:
    """A vertical line in every graph while `expr` has data."""
    return {
        "name": name, "datasource": SOURCE, "enable": True, "iconColor": colour, "expr": expr, "titleFormat": title,
        "step": "30s",
    }  # fmt: skip


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    number, top = 0, 0
    for title, panels in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": place,
        }
        left, top, tallest = 0, top + 1, 0
        for panel in panels:
            width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
            if left + width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            number += 1
            yield {"id": number} | panel | {"gridPos": {"x": left, "y": top, "w": width, "h": height}}
            left, tallest = left + width, max(tallest, height)
        top += tallest
