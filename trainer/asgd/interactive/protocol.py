"""What a process of Python's and the launcher that it has started say to each other: a line of JSON each.

The launcher reads one `Order` from its standard input, and then waits for that input's end: who has started it is gone,
and it stops the job in order. On its standard output it tells everything that the command line would have shown.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from asgd.spec.status import Status


class Order(Struct, forbid_unknown_fields=True):
    """What to do."""

    what: Literal["run", "simulate", "replay"]
    staging: str
    """The sender's own folder, which is removed at the end."""
    job: dict[str, Any] = {}
    """The checked and defaulted document."""
    given: list[str] = []
    files: dict[str, str] = {}
    """As in `spec.types.Job`."""
    folder: str = ""
    """Where the job's code is looked for; of a replay, the run's."""
    output: str | None = None
    transport: str = "ipc"
    warning: str = ""
    """For the person, about how the code was sent."""
    options: list[str] = []
    """Of the command line of `asgd simulate`."""
    until: int | None = None
    dump: str | None = None


class Message(Struct, tag_field="kind", rename="camel", frozen=True):
    """What a launcher tells."""


class Began(Message, tag="began", frozen=True):
    output: str
    """The run's folder."""


class Told(Message, tag="status", frozen=True):
    status: Status


class Note(Message, tag="note", frozen=True):
    text: str
    matters: bool = True
    warning: bool = False


class Waiting(Message, tag="waiting", frozen=True):
    text: str


class Said(Message, tag="said", frozen=True):
    """A line of standard output."""

    text: str


class Ended(Message, tag="ended", frozen=True):
    """The last one."""

    code: int
    """The command line's exit code."""
    sentence: str = ""
    """Of the error."""
    result: dict[str, Any] = field(default_factory=dict)
    """Of a replay."""


AnyMessage = Began | Told | Note | Waiting | Said | Ended
decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
