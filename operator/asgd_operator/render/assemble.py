"""Puts the children of a job together and stamps each with the hash of what was rendered."""

from __future__ import annotations

from collections.abc import Mapping

from asgd.spec.types import Job
from asgd_operator import __version__
from asgd_operator import constants as c
from asgd_operator.render import (
    config,
    disruption,
    evaluator,
    gang,
    monitoring,
    names,
    network,
    server,
    worker,
)
from asgd_operator.render import keys as secrets
from asgd_operator.render.model import Children, Keys, Manifest, Owner, Scope, Settings


def config_name(job: Job) -> str:
    """Name of the ConfigMap from which the job's pods read it."""
    return names.config(job.name, config.spec_hash(job))


def children(
    job: Job,
    owner: Owner,
    settings: Settings,
    keys: Keys | None = None,
    files: Mapping[str, str] | None = None,
) -> Children:
    """All objects that run `job`, as they stand for its spec: a suspended job has no servers and suspended
    Jobs.

    `keys` are new keys for a job without a Secret; without them no Secret is rendered. `files` are those of
    `spec.sourceFrom`, for the ConfigMap of a job that has none yet; one that is there is never written again.
    Raises UserError with a sentence for the user when the spec cannot become pods.
    """
    scope = Scope(job, owner, settings, config.spec_hash(job), files or {})
    suspended = job.spec.run_policy.suspend
    return Children(
        spec_hash=scope.spec_hash,
        config=_stamp(config.config(scope)),
        live=_stamp(config.live(scope)),
        keys=_optional(secrets.keys(scope, keys) if keys else None),
        network=_optional(network.network(scope)),
        service=_stamp(server.service(scope)),
        disruption=_stamp(disruption.disruption(scope)),
        monitor=_optional(monitoring.monitor(scope)),
        gang=_optional(gang.gang(scope)),
        servers=_stamp(server.servers(scope, 0 if suspended else job.spec.parameter_server.shards)),
        workers=_stamp(worker.workers(scope, job.spec.workers.replicas, suspended)),
        evaluator=_optional(evaluator.evaluator(scope, suspended)),
    )


def _optional(manifest: Manifest | None) -> Manifest | None:
    return None if manifest is None else _stamp(manifest)


def _stamp(manifest: Manifest) -> Manifest:
    """NB: the version joins after the hash, so that an upgrade that renders the same changes nothing. What changes
    while a workload runs is no part of it: it says of which rendering the rest is.
    """
    metadata, live = manifest["metadata"], c.LIVE_FIELDS.get(manifest["kind"], frozenset())
    spec = {key: value for key, value in manifest.get("spec", {}).items() if key not in live}
    digest = names.digest(manifest | {"spec": spec} if live else manifest)
    marks = {c.RENDERED_HASH: digest, c.RENDERED_BY: __version__}
    return manifest | {"metadata": metadata | {"annotations": metadata["annotations"] | marks}}
