"""What an API server says, made fit to be quoted: the same words in a job's status and in `kubectl asgd`.

Pure. How long a quotation may be, and what an answer means, is each caller's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

UNCHECKED = re.compile(r", <nil>: Invalid value: [^,\]]* some validation rules were not checked [^\]]*")
"""What the API server adds to the mistakes that it names; it helps nobody."""
_BEFORE = " is forbidden: ", " failed error: ", "Error creating: "


def newest(events: Iterable[Mapping[str, Any]], reasons: Collection[str]) -> str:
    """What the newest of these Events with one of `reasons` says of why; empty when there is none.

    NB: without the name of the pod, which is another with each try of a Job.
    """
    told = [event for event in events if event.get("reason") in reasons]
    last: Mapping[str, Any] = max(
        told, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default={}
    )
    words = str(last.get("message", ""))
    for before in _BEFORE:
        _, found, after = words.partition(before)
        words = after if found else words
    return words
