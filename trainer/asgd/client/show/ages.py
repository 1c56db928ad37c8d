"""Ages as kubectl spells them: `45s`, `3m10s`, `75m`, `5h20m`, `2d`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from asgd.client.documents import seconds_since

NONE = "<none>"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY


def age(seconds: float) -> str:
    """As `HumanDuration` of k8s.io/apimachinery: two units while the second one still matters."""
    count = int(seconds)
    if count < -1:
        return "<invalid>"
    if count < 0:
        return "0s"
    if count < 2 * _MINUTE:
        return f"{count}s"
    if count < 10 * _MINUTE:
        return _two(count, _MINUTE, "m", 1, "s")
    if count < 3 * _HOUR:
        return f"{count // _MINUTE}m"
    if count < 8 * _HOUR:
        return _two(count, _HOUR, "h", _MINUTE, "m")
    if count < 2 * _DAY:
        return f"{count // _HOUR}h"
    if count < 8 * _DAY:
        return _two(count, _DAY, "d", _HOUR, "h")
    if count < 2 * _YEAR:
        return f"{count // _DAY}d"
    return _two(count, _YEAR, "y", _DAY, "d") if count < 8 * _YEAR else f"{count // _YEAR}y"


def since(text: Any, now: datetime) -> str:
    """The age of a moment as Kubernetes writes it; `<none>` without one."""
    seconds = seconds_since(text, now)
    return NONE if seconds is None else age(seconds)


def _two(count: int, long: int, first: str, short: int, second: str) -> str:
    rest = count % long // short
    return f"{count // long}{first}" + (f"{rest}{second}" if rest else "")
