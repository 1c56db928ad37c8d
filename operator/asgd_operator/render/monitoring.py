"""The PodMonitor of a job, for Prometheus instances that read monitors only in the namespaces of their users.

Off unless the installation asks for it: the kind exists only beside the Prometheus operator. The pods' labels
become labels of the series, so that no metric of the trainer needs a job label of its own.
"""

from __future__ import annotations

from asgd_operator import constants as c
from asgd_operator.render import object_meta
from asgd_operator.render.model import Manifest, Scope


def monitor(scope: Scope) -> Manifest | None:
    """The PodMonitor, or None when the installation has it off."""
    if not scope.settings.pod_monitor:
        return None
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": object_meta.metadata(
            scope, scope.owner.name, extra_labels=dict(scope.settings.pod_monitor_labels)
        ),
        "spec": {
            "selector": {"matchLabels": object_meta.selector(scope.owner.name)},
            "podTargetLabels": [c.JOB_LABEL, c.ROLE_LABEL],
            "podMetricsEndpoints": [{"port": c.METRICS_PORT_NAME, "path": "/metrics"}],
        },
    }
