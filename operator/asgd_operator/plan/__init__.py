"""What the operator decides: `plan(observed) -> Plan`, a pure function of values, one file a policy.

It imports neither kopf nor a Kubernetes client. The engine observes, asks, and carries out.
"""

from asgd_operator.plan.decide import plan

__all__ = ["plan"]
