"""The last touch on each status: what the API server would refuse is cut to what the CRD's own schema allows.

Figures and sentences come from strangers: servers that run users' code, kubelets, admission rules. One that is too long
must not keep a verdict from being written. Empty maps and lists go too: where one was full before, server-side apply
makes null of it, which the schema refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

from asgd.spec import schema

_BITS = {"int32": 31, "int64": 63}
_NAME_MOST = 256
"""Letters of a key that the schema does not name; a longer one is left out."""
Schema = Mapping[str, Any]


def fit(status: Mapping[str, Any]) -> dict[str, Any]:
    """`status` without what is empty or no number, its texts, lists, maps and whole numbers within their bounds."""
    fitted = _fit(status, schema.structural()["properties"]["status"])
    return fitted if isinstance(fitted, dict) else {}


def _fit(value: Any, bounds: Schema) -> Any:
    """None for what is to be left out."""
    match value:
        case bool() | None:
            return value
        case str():
            return _text(value, bounds.get("maxLength"))
        case int():
            limit = 1 << _BITS.get(bounds.get("format", ""), 63)
            return max(-limit, min(limit - 1, value))
        case float():
            return _number(value)
        case Mapping():
            return _map(value, bounds) or None
        case list() | tuple():
            inner = bounds.get("items", {})
            found = (_fit(item, inner) for item in islice(value, bounds.get("maxItems")))
            return [item for item in found if item is not None] or None
    return value


def _number(value: float) -> float | int | None:
    """NB: from 2^53 to 1e21 the API server shows shortest digits without an exponent, which are read as another number:
    a status with one would look like one that is yet to be written, for ever."""
    if not math.isfinite(value):
        return None
    return int(Decimal(repr(value))) if 1 << 53 <= abs(value) < 1e21 else value


def _text(value: str, most: int | None) -> str:
    return value if most is None or len(value) <= most else f"{value[: most - 1]}…"


def _map(value: Mapping[str, Any], bounds: Schema) -> dict[str, Any]:
    known = bounds.get("properties", {})
    # NB: what the schema says of keys that it does not name is bounded in number; named ones are few.
    found = (
        (key, _fit(item, known.get(key) or bounds.get("additionalProperties") or {}))
        for key, item in value.items()
        if len(key) <= _NAME_MOST
    )
    return dict(islice(((key, item) for key, item in found if item is not None), bounds.get("maxProperties")))
