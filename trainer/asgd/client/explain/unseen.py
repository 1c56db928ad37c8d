"""Jobs that nobody looks at: none of this name, another controller's, no operator, an operator that is away. Pure."""

from __future__ import annotations

from datetime import datetime

from asgd.client.explain.facts import Facts, age
from asgd.client.explain.kinds import Found, Kind
from asgd.report import units

OPERATOR = "asgd.dev/asgd-operator"
VERSION = "asgd.dev/v1alpha1"
LOOKS_WITHIN = 20.0
"""Seconds in which an operator has looked at a new or edited job, also where many others are new."""
_OPERATORS = "kubectl get pods --all-namespaces -l app.kubernetes.io/component=operator"


def unseen(facts: Facts, now: datetime) -> Found | None:
    """None for a job that an operator has judged as it stands."""
    if facts.job is None:
        return _absent(facts)
    version = str(facts.job.get("apiVersion", VERSION))
    if version != VERSION:
        return Found(
            Kind.OTHER_VERSION, f"it is an AsgdJob of {version}, and this operator's version reads {VERSION} alone",
            "Give the operator and the CRD one version.", "kubectl get crd asgdjobs.asgd.dev -o yaml",
        )  # fmt: skip
    manager = facts.at("managedBy") or OPERATOR
    if manager != OPERATOR:
        return Found(
            Kind.MANAGED_ELSEWHERE, f"spec.managedBy hands it to {manager}, and the operator leaves it alone",
            f"Look at {manager}, or apply the job anew without managedBy, which can't be changed.",
            facts.anew, "managedBy",
        )  # fmt: skip
    if not facts.status.get("conditions"):
        return _new(facts, now)
    return _edited(facts, now)


def _absent(facts: Facts) -> Found:
    if not facts.served:
        return Found(
            Kind.NO_KIND, "the cluster does not know AsgdJobs",
            "Install the operator's chart, or choose another cluster with --context.", "kubectl config get-contexts",
        )  # fmt: skip
    return Found(
        Kind.NO_JOB, f"there is no AsgdJob {facts.name} in namespace {facts.namespace}",
        "Mend the name, or name its namespace with -n.", "kubectl get asgdjobs --all-namespaces",
    )  # fmt: skip


def _new(facts: Facts, now: datetime) -> Found:
    metadata = (facts.job or {}).get("metadata", {})
    old = age(metadata.get("creationTimestamp"), now) or 0.0
    if old < LOOKS_WITHIN:
        return Found(
            Kind.JUST_APPLIED, f"it was applied {old:.0f} s ago, and no operator has looked at it yet",
            "Ask again in a moment.", facts.own("explain"),
        )  # fmt: skip
    return Found(
        Kind.NO_OPERATOR,
        f"no operator has looked at it in the {_long(old)} since it was applied, so none watches namespace"
        f" {facts.namespace}",
        f"Install the operator, start it again, or add {facts.namespace} to watch.namespaces of its chart.", _OPERATORS,
    )  # fmt: skip


def _edited(facts: Facts, now: datetime) -> Found | None:
    metadata = (facts.job or {}).get("metadata", {})
    if int(facts.status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)):
        return None
    ours = [item for item in metadata.get("managedFields", ()) if not item.get("subresource")]
    ages = [found for item in ours if (found := age(item.get("time"), now)) is not None]
    if not ages or min(ages) < LOOKS_WITHIN:
        return None
    return Found(
        Kind.OPERATOR_AWAY,
        f"no operator has looked at the edit of {_long(min(ages))} ago, so none works now, and what the status says is"
        f" old ({facts.status.get('phase', 'no phase')})",
        "Start the operator again: its pods train on, and nobody scales or mends them meanwhile.", _OPERATORS,
    )  # fmt: skip


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else units.seconds(seconds)
