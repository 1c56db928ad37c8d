"""How large and how deep a job may be: bombs are refused before anything is made of them.

The API server takes requests of 3 MiB; nobody's job needs more than a part of the other two.
"""

from __future__ import annotations

from typing import Any

MOST_BYTES = 3 << 20
"""Of a job's text."""
DEPTH = 100
"""Mappings and lists inside one another."""
VALUES = 50_000
"""Keys and values, those counted that aliases repeat."""

TOO_LARGE = f"has more than {MOST_BYTES >> 20} MiB, which no API server takes"
TOO_DEEP = f"holds mappings and lists more than {DEPTH} deep inside one another"
TOO_MANY = f"holds more than {VALUES:,} keys and values, those counted that aliases repeat"


def beyond(document: Any) -> str:
    """What of a JSON-like document is beyond the bounds, as a part of a sentence; empty if nothing is.

    It looks at no more than the bounds allow, and needs no stack for what is deep.
    """
    level, count, depth = [document], 0, 0
    while level:
        if depth > DEPTH:
            return TOO_DEEP
        inner: list[Any] = []
        for value in level:
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            count += 1 + len(held) * isinstance(value, dict)
            inner.extend(held)
            if count + len(inner) > VALUES:
                return TOO_MANY
        level, depth = inner, depth + 1
    return ""
