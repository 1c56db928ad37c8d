"""Times as the API writes them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

LONGEST_SECONDS = 1e9


def write(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: object) -> datetime | None:
    """None for what is absent or no time."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def after_epoch(seconds: float) -> datetime:
    """The moment of a POSIX timestamp."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_until(moment: datetime | None, after: float, now: datetime) -> float | None:
    """Seconds from `now` until `after` seconds past `moment`; zero or less when that has passed, None without
    a start.
    """
    return None if moment is None else after - (now - moment).total_seconds()


def before(moment: datetime, seconds: float) -> datetime:
    """`seconds` earlier; a stranger's figure, so it is bounded by what a time can hold."""
    return moment - timedelta(seconds=min(max(0.0, seconds), LONGEST_SECONDS))
