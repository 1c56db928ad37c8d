"""What a plan may ask for: a closed set of writes, each safe to repeat, and the events and status that go
with them.

Every write names its target by a name that is a pure function of the job, and every one to an object that is there
carries the UID it saw, so a plan made from a stale view does no harm. What is not here, the operator cannot do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asgd_operator.constants import EventReason
from asgd_operator.plan.model import Child, Wanted


@dataclass(frozen=True, slots=True)
class Event:
    """One transition, told to the user once."""

    reason: EventReason
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a whole rendered child: to the one with this UID, or, without one, to make it."""

    child: Wanted
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Heal:
    """Apply a child again, if it still has this UID, for others have changed what is ours of it."""

    child: Wanted
    seen: Child
    event: Event
    """Told when there was something to put back."""


@dataclass(frozen=True, slots=True)
class CreateOnce:
    """Create a child; that it exists already is success, and its content is left alone."""

    child: Wanted


@dataclass(frozen=True, slots=True)
class ApplyLive:
    """Server-side apply of only the fields of a workload that change while it runs, if it still has this UID."""

    kind: str
    name: str
    uid: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child in the background, if it still has this UID."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a pod, if it still has this UID; `force` does not wait for a node that may never answer."""

    name: str
    uid: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class FailPod:
    """Write that a pod of a Job failed by a disruption, if it still has this UID; its node cannot say so any more."""

    name: str
    uid: str
    message: str


@dataclass(frozen=True, slots=True)
class ExcusePod:
    """Write that a pod of a Job ends by a disruption, if it still has this UID; its end costs no budget then."""

    name: str
    uid: str
    message: str


@dataclass(frozen=True, slots=True)
class Annotate:
    """Write an annotation of a pod, if it still has this UID; nothing depends on it, so it may fail."""

    name: str
    uid: str
    annotation: str
    value: str


@dataclass(frozen=True, slots=True)
class DeleteSelf:
    """Delete the job itself; its children follow it."""


Action = (
    Apply | Heal | CreateOnce | ApplyLive | Delete | DeletePod | FailPod | ExcusePod | Annotate | DeleteSelf
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one policy contributes to a plan."""

    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    look_again: float | None = None
    """Seconds after which time alone may change the answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes to make, in order; the status as it should stand (None: leave it alone); when to look again."""

    status: Mapping[str, Any] | None = None
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = field(default=())
    requeue_after: float | None = None
