"""Names and hashes of a job's children: pure functions of (job, role, spec hash).

A retried pass therefore finds what an earlier one made (AlreadyExists is success), and a person can foresee
every name. The ConfigMap of the frozen spec carries its hash in the name: it is immutable, and pods of two versions
may overlap. The Secret carries that of the job's UID.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from asgd_operator.constants import EXCHANGE_PORT, Role
from asgd_operator.render.model import Owner

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own for hashes in names: no word can appear, and no `1e5` that YAML would read as a number."""


def digest(value: Any) -> str:
    """Ten letters and digits that are equal for equal JSON values, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in hashlib.sha256(text.encode()).digest()[:10])


def child(job: str, role: Role) -> str:
    """Name of a role's StatefulSet or Job, and of the servers' Service: `digits-server`, `digits-worker`."""
    return f"{job}-{role.value}"


def config(job: str, spec_hash: str) -> str:
    """Name of the immutable ConfigMap that holds the frozen spec."""
    return f"{job}-spec-{spec_hash}"


def live(job: str) -> str:
    """Name of the ConfigMap with the fields that may change while the job runs."""
    return f"{job}-live"


def keys(owner: Owner) -> str:
    """Name of the Secret with the job's CURVE keys.

    With a hash of the job's UID: the operator may not read Secrets, so it could not tell its own from another one that
    stands under this name, as that of a former job or of a user.
    """
    return f"{owner.name}-keys-{digest(owner.uid)}"


def server_addresses(owner: Owner, shards: int) -> list[str]:
    """Exchange address of every shard, in order; stable over restarts, as a StatefulSet's pods keep their
    names."""
    service = child(owner.name, Role.SERVER)
    return [
        f"tcp://{service}-{shard}.{service}.{owner.namespace}.svc:{EXCHANGE_PORT}" for shard in range(shards)
    ]
