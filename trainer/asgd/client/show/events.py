"""Events about a job and its children, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from asgd.client.documents import Document, part
from asgd.client.show.ages import age, since
from asgd.client.show.table import table

_HEAD = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")


def of_job(events: Iterable[Document], job: Document, children: Iterable[Document]) -> list[Document]:
    """Those about the job itself and about its children (pods, Job, StatefulSet), oldest first."""
    uids = {part(each, "metadata", "uid") for each in (job, *children)}
    return in_order(event for event in events if part(event, "involvedObject", "uid") in uids)


def in_order(events: Iterable[Document]) -> list[Document]:
    return sorted(events, key=when)


def when(event: Document) -> str:
    """When it was seen last, as a text that sorts."""
    series = part(event, "series", "lastObservedTime")
    times = (
        series,
        event.get("lastTimestamp"),
        event.get("eventTime"),
        part(event, "metadata", "creationTimestamp"),
    )
    return str(next((each for each in times if each), "")).partition(".")[0].rstrip("Z")


def events_table(events: Sequence[Document], now: datetime, *, head: bool = True) -> str:
    rows = [
        (_seen(event, now), event.get("type"), event.get("reason"), _object(event), _said(event))
        for event in events
    ]
    return table(_HEAD if head else ("",) * len(_HEAD), rows)


def line(event: Document) -> str:
    """One event as a line among a run's progress."""
    return f"{event.get('reason')}: {_said(event)}"


def _seen(event: Document, now: datetime) -> str:
    times = int(event.get("count") or part(event, "series", "count") or 1)
    last = since(f"{when(event)}Z", now) if when(event) else age(0)
    return f"{last} (x{times})" if times > 1 else last


def _object(event: Document) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _said(event: Document) -> str:
    return " ".join(str(event.get("message") or "").split())
