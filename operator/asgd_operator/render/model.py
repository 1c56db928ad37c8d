"""What goes into rendering and what comes out: the owner, the keys, the settings, the set of child objects.

Plain values without behaviour beside `Children.all()`, so that `plan` can compare and choose among children
and the engine can apply them, while neither needs to know how one of them is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from msgspec import Meta, Struct

from asgd.spec.types import Job, JobSpec
from asgd.tracing.opening import EXCHANGES
from asgd_operator import constants as c

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """The AsgdJob that owns every child: garbage collection removes the children with it, so no finalizer is
    needed."""

    uid: str
    name: str
    namespace: str
    api_version: str = c.API_VERSION
    kind: str = c.KIND


@dataclass(frozen=True)
class Keys:
    """CURVE keys of one job as Z85 strings, and a token. Made once in its life; workers never get `server_secret`."""

    server_public: str
    server_secret: str
    client_public: str
    client_secret: str
    page_token: str
    """What the job's page asks for; any text that nobody guesses."""


class Peer(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """Pods that may reach a job's metrics port: both selectors must hold; empty namespace labels mean any
    namespace."""

    namespace_labels: dict[str, str] = {}
    pod_labels: dict[str, str] = {}


class Tracing(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """Where servers and workers of jobs send spans of their exchanges (docs/how-to/tracing.md)."""

    endpoint: str = ""
    """Base URL of a collector that takes OTLP over HTTP; empty: nowhere."""
    exchanges: Annotated[float, Meta(ge=0, le=1)] = EXCHANGES
    """Share of the exchanges that is traced."""


class Settings(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """What an installation decides for all of its jobs."""

    server_image: str
    """Image of the parameter servers: the operator's own slim image."""
    trainer_image: str
    """Image of workers and evaluator of a job that names none."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the job's namespace."""
    operator: Peer = Peer(pod_labels={"app.kubernetes.io/name": c.MANAGER})
    prometheus: Peer = Peer(pod_labels={"app.kubernetes.io/name": "prometheus"})
    page: bool = True
    """A container beside each job's shard 0 that serves its page, where the job does not say."""
    tracing: Tracing = Tracing()
    pod_monitor: bool = False
    """One PodMonitor a job; needs the Prometheus operator's CRDs."""
    pod_monitor_labels: dict[str, str] = {}


@dataclass(frozen=True)
class Scope:
    """Everything that a builder of one child may look at."""

    job: Job
    owner: Owner
    settings: Settings
    spec_hash: str
    files: Mapping[str, str] = field(default_factory=dict)
    """Of `spec.sourceFrom`."""

    @property
    def spec(self) -> JobSpec:
        return self.job.spec


@dataclass(frozen=True)
class Children:
    """The child objects of one job, in the order in which they are applied; None where the job has none of
    that kind."""

    spec_hash: str
    config: Manifest
    live: Manifest
    keys: Manifest | None
    """Create it, never apply it: an existing Secret is never overwritten."""
    network: Manifest | None
    service: Manifest
    disruption: Manifest
    monitor: Manifest | None
    gang: Manifest | None
    servers: Manifest
    workers: Manifest
    evaluator: Manifest | None

    def all(self) -> tuple[Manifest, ...]:
        """Every child that the job has, in order of application."""
        values = (getattr(self, f.name) for f in fields(self) if f.name != "spec_hash")
        return tuple(value for value in values if value is not None)
