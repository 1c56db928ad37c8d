"""Numbers, durations and stop rules as a person reads them, spelled alike on screen, in logs and pictures.

Plain ASCII on purpose: these strings also go to log files and to terminals that know nothing else.
"""

from __future__ import annotations

import math

from asgd.spec.types import Metric, PatienceRule, StopAfter

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: float | None) -> str:
    """Four significant digits, thousands grouped; `-` for nothing, `nan` and `inf` as they are."""
    if value is None:
        return "-"
    if math.isfinite(value) and 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def rate(value: float) -> str:
    """A rate a second: whole numbers from 10 up, one decimal below."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def seconds(value: float) -> str:
    """A duration: `12.3s`, `2m05s`, `1h02m05s`, `3d04h00m`."""
    if value < 60:
        return f"{math.floor(max(0.0, value) * 10) / 10:.1f}s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h{minutes:02}m"
    return f"{hours}h{minutes:02}m{rest:02}s" if hours else f"{minutes}m{rest:02}s"


def size(count: int) -> str:
    """Bytes in decimal units: `812 B`, `1.2 MB`."""
    value, power = float(count), 0
    while value >= 999.95 and power < len(_BYTE_UNITS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.1f} {_BYTE_UNITS[power]}" if power else f"{count} B"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """`1 update`, `1,240 updates`, with ending "es": `3 pushes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{ending}"


def target(metric: Metric) -> str:
    """`accuracy >= 0.98`."""
    bounds = ((">=", metric.at_least), ("<=", metric.at_most))
    return " and ".join([f"{metric.name} {sign} {value:g}" for sign, value in bounds if value is not None])


def unimproved(rule: PatienceRule) -> str:
    """`accuracy gets no better for 5 evaluations`."""
    return f"{rule.metric} gets no better for {plural(rule.evaluations, 'evaluation')}"


def stop_rule(rule: StopAfter) -> str:
    """`40 epochs or accuracy >= 0.98`; empty without a rule."""
    parts = [
        f"{rule.epochs:g} epoch{'' if rule.epochs == 1 else 's'}" if rule.epochs is not None else "",
        plural(rule.updates, "update") if rule.updates is not None else "",
        plural(rule.samples, "sample") if rule.samples is not None else "",
        seconds(rule.seconds) if rule.seconds is not None else "",
        target(rule.metric) if rule.metric is not None else "",
        unimproved(rule.patience) if rule.patience is not None else "",
    ]
    return " or ".join(part for part in parts if part)
