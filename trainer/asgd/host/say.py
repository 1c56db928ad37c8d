"""The few lines that a process of a job writes to its log: what it is, when it joined, why it ended."""

from __future__ import annotations

from datetime import UTC, datetime


def say(text: str) -> None:
    """One line with the time, at once."""
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", flush=True)
