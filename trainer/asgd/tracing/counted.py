"""What has become of a process's spans, as a metric that is there without the library, too."""

from __future__ import annotations

from typing import Protocol

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

OUTCOMES = ("exported", "failed", "dropped")


class Counted(Protocol):
    """What `Spans` counts."""

    @property
    def counts(self) -> dict[str, int]:
        """By outcome."""


def spans_metric(name: str, spans: Counted | None) -> Metric:
    """Of each outcome, all 0 where nothing is traced."""
    says = "Spans by outcome: taken by the collector, not taken, dropped for want of room in the queue."
    family = CounterMetricFamily(name, says, labels=["outcome"])
    counts = spans.counts if spans else {}
    for outcome in OUTCOMES:
        family.add_metric([outcome], counts.get(outcome, 0))
    return family
