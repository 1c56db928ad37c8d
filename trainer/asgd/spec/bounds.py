"""How large and how deep a job may be: bombs are refused before anything is made of them.

The API server takes requests of 3 MiB; nobody's job needs more than a part of the other two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 3 << 20
"""Of a job's text."""
DEPTH = 100
"""Mappings and lists inside one another."""
CONFIG_MAP_BYTES = 1 << 20
"""What the API server takes of a ConfigMap's values; the job that pods read is one of them."""
ANNOTATION_BYTES = 1 << 18
"""What it takes of all annotations: `kubectl apply` without --server-side keeps a copy of the object in one."""
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


def too_large_for_pods(document: Mapping[str, Any]) -> str:
    """Why the job's pods could not be told this document, for what stands behind `spec`; empty if they can."""
    size = json_bytes(document)
    if size <= CONFIG_MAP_BYTES:
        return ""
    return (
        f"the job has {size:,} bytes as JSON, its files included, and the ConfigMap from which its pods read it holds"
        f" {CONFIG_MAP_BYTES:,}; put code and data into an image"
    )


def needs_server_side(document: Mapping[str, Any]) -> str:
    """A warning for a document, as the user wrote it, that a plain `kubectl apply` does not take; else empty."""
    size = json_bytes(document)
    if size <= ANNOTATION_BYTES:
        return ""
    return (
        f"the job has {size:,} bytes as JSON, and `kubectl apply` keeps a copy in an annotation of at most"
        f" {ANNOTATION_BYTES:,}: use `kubectl apply --server-side`, or put the files into a ConfigMap and name it in"
        " spec.sourceFrom"
    )


def json_bytes(document: Mapping[str, Any]) -> int:
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace"))
