"""The operator's own configuration: one YAML file, which the chart writes; a field that is not known is
refused.

Read once at start. What decides how jobs look stands under `jobs` and goes to `render` as it is; the rest is
about the operator's process: what it watches, where it serves, how it logs, and whether it takes a Lease
first.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

from asgd.errors import UserError
from asgd_operator.render import Settings


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
    level: str = "info"
    """debug | info | warning | error"""
    format: str = "json"
    """json | text"""


class OperatorSettings(_Part, frozen=True):
    """The whole file."""

    jobs: Settings
    watch: Watch = Watch()
    leader_election: LeaderElection = LeaderElection()
    logging: Logging = Logging()
    port: int = 8080
    """Serves /healthz, /readyz and /metrics."""


def load(path: Path) -> OperatorSettings:
    """The settings in a YAML file. Raises UserError when it is missing, unreadable or has a wrong field."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), OperatorSettings)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {error}") from error
