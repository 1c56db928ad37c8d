"""The operator's own configuration: one YAML file, which the chart writes, and variables that go over it.

A field or a variable that is not known is refused: a misspelt one would be an installation that does not do
what it says. `ASGD_OPERATOR_WATCH__NODES=false` is `watch: {nodes: false}`. Read once at start, and printed
whole. What decides how jobs look stands under `jobs` and goes to `render` as it is; the rest is about the
operator's process: what it watches, how fast it works, where it serves, how it logs, and whether it takes a
Lease first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from asgd.errors import UserError
from asgd_operator import __version__
from asgd_operator.engine.queue import Pace
from asgd_operator.render import Settings

PREFIX = "ASGD_OPERATOR_"
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class _Part(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    pass


class Watch(_Part, frozen=True):
    """What the operator lists and watches; its rights must allow it."""

    namespaces: tuple[str, ...] = ()
    """Empty: all namespaces."""
    nodes: bool = True
    """Nodes tell a lost node at once; without them pods on it are replaced by time alone."""


class LeaderElection(_Part, frozen=True):
    """Only needed when two operators may run at a time; the chart's Deployment is replaced, never doubled."""

    enabled: bool = False
    namespace: str = ""
    name: str = "asgd-operator"


class Logging(_Part, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Queue(_Part, frozen=True):
    """How fast jobs are worked on."""

    workers: Count = 4
    """Jobs that are looked at at the same time: so many that are new or have changed, and so many of routine."""
    per_second: Positive = 10.0
    """Looks a second for long in each of the two lanes; five times as many at once."""
    resync_seconds: Positive = 600.0
    """How often every job is looked at without a reason. `/readyz` fails after three of these without a
    round.
    """
    request_timeout_seconds: Positive = 30.0
    """Of one request to the API server."""


class OperatorSettings(_Part, frozen=True):
    """The whole file."""

    jobs: Settings = Settings(
        server_image=f"asgd-operator:{__version__}", trainer_image=f"asgd-trainer:{__version__}"
    )
    watch: Watch = Watch()
    leader_election: LeaderElection = LeaderElection()
    logging: Logging = Logging()
    queue: Queue = Queue()
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    """Serves /healthz, /readyz and /metrics."""

    def pace(self) -> Pace:
        """Of the work queue."""
        queue = self.queue
        return Pace(
            workers=queue.workers,
            per_second=queue.per_second,
            burst=5 * queue.per_second,
            resync=queue.resync_seconds,
        )

    def describe(self) -> str:
        """The effective settings as JSON; none of them is a secret."""
        return msgspec.json.encode(self).decode()


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> OperatorSettings:
    """The settings in a YAML file (none: the defaults) and in `ASGD_OPERATOR_*` over it.

    Raises UserError when the file is missing or unreadable, or a field is unknown or has a wrong value.
    """
    place = str(path) if path else f"{PREFIX}*"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
        for name, text in sorted((environment or {}).items()):
            if name.startswith(PREFIX):
                place = name
                _put(document, [_camel(part) for part in name.removeprefix(PREFIX).split("__")], text)
                # Each is checked as it is put, so that the message names the one that is wrong.
                msgspec.convert(_with_images(document), OperatorSettings)
        place = str(path) if path else f"{PREFIX}*"
        return msgspec.convert(document, OperatorSettings)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UserError(f"{place}: {error}") from error


def _with_images(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"jobs": {"serverImage": "", "trainerImage": ""} | document.get("jobs", {})}


def _put(document: dict[str, Any], path: list[str], text: str) -> None:
    *parents, leaf = path
    for parent in parents:
        document = document.setdefault(parent, {})
    document[leaf] = yaml.safe_load(text)


def _camel(name: str) -> str:
    first, *rest = name.lower().split("_")
    return first + "".join(part.capitalize() for part in rest)
