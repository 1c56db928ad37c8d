"""Kinds of panels, as Grafana's JSON has them. `says`, its description, tells what is right and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from .board import SOURCE, Json

Query = tuple[str, str]
"""(PromQL, legend)."""
Limits = Sequence[tuple[float, str]]
"""(value, colour from there on); below the first it is green."""
BAD, WARN = "red", "orange"
PHASES = {
    "Running": "green", "Succeeded": "blue", "Failed": BAD, "Invalid": "dark-red", "Stalled": "semi-dark-red",
    "Recovering": WARN, "WaitingForWorkers": "yellow", "Starting": "light-blue", "Completing": "light-green",
    "Suspended": "text", "Suspending": "text", "Terminating": "text",
}  # fmt: skip
"""Of jobs; a phase that needs a look has a warm colour."""
STATES = {"running": "green", "stalled": WARN, "hung": BAD, "lost": "dark-red", "left": "blue"}
"""Of workers."""


def graph(
    title: str, says: str, *queries: Query, unit: str = "short", limits: Limits = (), stacked: str = "",
    most: float | None = None, least: float | None = 0, wide: int = 8, tall: int = 8, log: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Json:  # fmt: skip
    """Lines over time. `stacked`: normal | percent. `limits` are drawn as dashed lines. `colours`: {legend: colour}."""
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 8,
        "showPoints": "never",
        "spanNulls": 60000,
    }
    if stacked:
        custom |= {"stacking": {"mode": stacked, "group": "A"}, "lineWidth": 0}
    if limits:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 2}
    defaults = {"unit": unit, "custom": custom, **_limits(limits)}
    defaults |= {"min": least} if least is not None and not log else {}
    defaults |= {"max": most} if most is not None else {}
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    made = _panel("timeseries", title, says, queries, wide, tall, defaults, options)
    for name, colour in (colours or {}).items():
        fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
        made["fieldConfig"]["overrides"].append(_override(name, [fixed]))
    return made


def number(
    title: str, says: str, query: Query, unit: str = "short", limits: Limits = (), wide: int = 4,
    colour: str = "", by_name: bool = False, decimals: int | None = None,
) -> Json:  # fmt: skip
    """The newest value, large. `by_name`: the legend is what it shows."""
    defaults: Json = {"unit": unit, **_limits(limits, colour or "green")}
    defaults |= {"decimals": decimals} if decimals is not None else {}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none" if by_name else "area",
        "textMode": "name" if by_name else "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return _panel("stat", title, says, [query], wide, 4, defaults, options)


def heat(title: str, says: str, query: str, unit: str, wide: int = 12, tall: int = 8) -> Json:
    """A histogram over time, one row a bucket."""
    colours = {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "reverse": False}
    options = {
        "calculate": False,
        "color": colours,
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"axisPlacement": "left", "unit": unit, "decimals": 0},
        "tooltip": {"mode": "single", "yHistogram": False},
        "legend": {"show": True},
    }
    made = _panel("heatmap", title, says, [(query, "{{le}}")], wide, tall, {}, options)
    made["targets"][0]["format"] = "heatmap"
    return made


def timeline(
    title: str, says: str, query: Query, colours: dict[str, tuple[str, str]], wide: int = 12
) -> Json:
    """One bar a series, coloured by its value: {value: (text, colour)}."""
    mapped = {value: {"text": text, "color": colour} for value, (text, colour) in colours.items()}
    defaults = {
        "mappings": [{"type": "value", "options": mapped}],
        "custom": {"fillOpacity": 80, "lineWidth": 0},
    }
    options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": {"showLegend": False}}
    return _panel("state-timeline", title, says, [query], wide, 8, defaults, options)


def table(
    title: str, says: str, keys: Sequence[str], columns: Sequence[tuple[str, str, str]], wide: int = 24, tall: int = 9,
    link: str = "", limits: dict[str, Limits] | None = None,
) -> Json:  # fmt: skip
    """A row for each value of the labels `keys`; `columns` are (title, PromQL that has these labels alone, unit).

    `link` goes from the first column that is named `name` or else the first key.
    """
    made = _panel("table", title, says, [(expr, "") for _, expr, _ in columns], wide, tall, {}, {})
    for target in made["targets"]:
        target |= {"format": "table", "instant": True, "range": False}
    values = [f"Value #{target['refId']}" if len(columns) > 1 else "Value" for target in made["targets"]]
    names = {value: head for value, (head, _, _) in zip(values, columns, strict=True)}
    order = {name: index for index, name in enumerate([*keys, *values])}
    organize = {
        "excludeByName": {"Time": True} | {value: True for value, name in names.items() if not name},
        "indexByName": order,
        "renameByName": {value: name for value, name in names.items() if name},
    }
    made["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    made["options"] = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    overrides = [_column(head, unit, (limits or {}).get(head, ())) for head, _, unit in columns if head]
    if link:
        where = {"title": "Open this job", "url": link, "targetBlank": False}
        column = "name" if "name" in keys else keys[0]
        overrides.append(_override(column, [{"id": "links", "value": [where]}]))
    made["fieldConfig"]["overrides"] = overrides
    return made


def _column(head: str, unit: str, limits: Limits) -> Json:
    properties: list[Json] = [{"id": "unit", "value": unit}]
    if limits:
        properties.append({"id": "thresholds", "value": _limits(limits)["thresholds"]})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return _override(head, properties)


def _override(column: str, properties: list[Json]) -> Json:
    return {"matcher": {"id": "byName", "options": column}, "properties": properties}


def _limits(limits: Limits, base: str = "green") -> Json:
    steps: list[dict[str, Any]] = [{"color": base, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in limits]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def _panel(
    kind: str,
    title: str,
    says: str,
    queries: Sequence[Query],
    wide: int,
    tall: int,
    defaults: Json,
    options: Json,
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": says,
        "datasource": SOURCE,
        "gridPos": {"w": wide, "h": tall},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": ref, "datasource": SOURCE, "expr": " ".join(expr.split()), "legendFormat": legend}
            for ref, (expr, legend) in zip(ascii_uppercase, queries, strict=False)
        ],
    }
