"""The NetworkPolicy of a job: its pods are reached by its own pods, and their metrics by the operator and
Prometheus.

Own pods may use every port, for the bulk lanes choose theirs. Egress stays open: users' code downloads data
and checkpoints go to object stores, neither of which can be named here.
"""

from __future__ import annotations

from asgd_operator.render import object_meta
from asgd_operator.render.model import Manifest, Peer, Scope


def network(scope: Scope) -> Manifest | None:
    """The policy, or None when `network.policy` is Disabled."""
    if scope.spec.network.policy != "Enabled":
        return None
    own = {"podSelector": {"matchLabels": object_meta.selector(scope.owner.name)}}
    scrapers = [_peer(scope.settings.operator), _peer(scope.settings.prometheus)]
    metrics = [{"port": scope.spec.metrics.port, "protocol": "TCP"}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_meta.metadata(scope, scope.owner.name),
        "spec": {
            "podSelector": {"matchLabels": object_meta.selector(scope.owner.name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [own]}, {"from": scrapers, "ports": metrics}],
        },
    }


def _peer(peer: Peer) -> Manifest:
    """NB: one entry with both selectors means "and"; two entries would mean "or"."""
    return {"namespaceSelector": _labels(peer.namespace_labels), "podSelector": _labels(peer.pod_labels)}


def _labels(labels: dict[str, str]) -> Manifest:
    return {"matchLabels": labels} if labels else {}
