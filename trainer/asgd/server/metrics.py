"""Prometheus metrics of a server (prefix asgd_server_), read from the shard's own counters when scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from asgd.host.versions import build_info
from asgd.server import job_metrics
from asgd.server.core import ServerCore
from asgd.server.shard import Shard
from asgd.server.traffic import SECONDS_BUCKETS, Traffic
from asgd.tracing.counted import Counted, spans_metric

_REASONS = ("stale", "nonfinite", "outlier", "rollback", "norm")
"""Shown also while there is none; strategies and rounds have more."""
STALENESS_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Beside the job's own bound: 4 updates a worker (HighStaleness) still lie within for 500 workers."""


def of_server(core: ServerCore, spans: Counted | None = None) -> Iterator[Metric]:
    """What a scrape of this server finds: its own figures, and on shard 0 the job's."""
    yield from collect(core.shard, core.traffic, len(core.parked), spans)
    primary = core.primary
    if primary and primary.told:
        yield from job_metrics.collect(primary.told, primary.coordinator.spec)


def collect(shard: Shard, traffic: Traffic, parked: int, spans: Counted | None = None) -> Iterator[Metric]:
    """All metrics of one shard at this moment."""
    state = shard.state
    yield _counter("updates", "Pushes accepted by this shard.", state.version)
    yield _counter("samples", "Samples in accepted pushes.", state.samples)
    refused = CounterMetricFamily(
        "asgd_server_updates_rejected", "Pushes refused, by reason.", labels=["reason"]
    )
    for reason in sorted({*_REASONS, *dict(shard.refused)}):
        refused.add_metric([reason], shard.refused.get(reason, 0))
    yield refused
    yield _staleness(shard)
    yield from _requests(traffic)
    yield _counter("received_bytes", "Payload bytes received.", traffic.received)
    yield _counter("sent_bytes", "Payload bytes sent.", traffic.sent)
    yield _counter(
        "saved_bytes", "Payload bytes that codecs saved of what fp32 would have taken.", shard.saved
    )
    yield _counter("lost_updates", "Acknowledged updates lost by restarts.", shard.losses.updates)
    yield _counter("rollbacks", "How often the job has gone back to a checkpoint.", shard.rollbacks)
    yield _gauge("version", "Version of this shard: updates applied to it.", state.version)
    yield _gauge("term", "Term of this server: how often the shard was started.", shard.term)
    yield _gauge("connected_workers", "Workers that are members.", len(shard.members))
    yield _gauge("parked_requests", "Pulls held back for now (warm start, SSP).", parked)
    yield _gauge("parameters", "Parameters that this shard holds.", state.weights.size)
    size = state.weights.nbytes + sum(slot.nbytes for slot in state.slots.values())
    yield _gauge("parameter_size_bytes", "Memory of parameters and optimizer state.", size)
    shadows = shard.shadows.nbytes if shard.shadows else 0
    yield _gauge("shadow_size_bytes", "Memory of what workers hold, kept for compressed pulls.", shadows)
    checkpoints = CounterMetricFamily("asgd_server_checkpoints", "Checkpoints, by result.", labels=["result"])
    for result in ("saved", "failed"):
        checkpoints.add_metric([result], traffic.checkpoints[result])
    yield checkpoints
    yield _gauge(
        "checkpoint_duration_seconds", "Duration of the newest checkpoint.", traffic.checkpoint_seconds
    )
    yield _gauge("checkpoint_size_bytes", "Size of the newest checkpoint's part.", traffic.checkpoint_bytes)
    yield _gauge(
        "checkpoint_last_success_timestamp_seconds",
        "When a checkpoint was last saved.",
        traffic.checkpoint_time,
    )
    yield _gauge(
        "checkpoint_store_busy_seconds",
        "How long the checkpoint store has been at work on what it was asked; 0: it has nothing to do.",
        traffic.store_seconds,
    )
    messages = CounterMetricFamily(
        "asgd_server_messages_refused", "Messages that were not served, by sender and reason.",
        labels=["peer", "reason"],
    )  # fmt: skip
    for (peer, reason), count in list(traffic.refused.items()):
        messages.add_metric([peer, reason], count)
    yield messages
    yield _strategy(shard)
    yield spans_metric("asgd_server_spans", spans)
    yield build_info("asgd_server_build_info", "numpy")


def _strategy(shard: Shard) -> Metric:
    family = GaugeMetricFamily(
        "asgd_server_strategy", "What the strategy tells of itself (shard 0), by figure.", labels=["figure"]
    )
    for figure, value in (shard.strategy.tells(shard.state) if shard.index == 0 else {}).items():
        family.add_metric([figure], value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"asgd_server_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"asgd_server_{name}", text, value=value)


def _staleness(shard: Shard) -> Metric:
    histogram, bound = Counter(shard.histogram), shard.spec.exchange.staleness.max
    # NB: a quantile is guessed within its bucket, so a bound is told from what is above it only as a limit of its own.
    limits = sorted({*STALENESS_BUCKETS, *([] if bound is None else [bound])})
    buckets = [
        (str(float(limit)), float(sum(n for s, n in histogram.items() if s <= limit))) for limit in limits
    ]
    buckets.append(("+Inf", float(histogram.total())))
    return HistogramMetricFamily(
        "asgd_server_gradient_staleness_updates",
        "Staleness of accepted pushes: updates between pull and apply.",
        buckets=buckets,
        sum_value=float(sum(s * n for s, n in histogram.items())),
    )


def _requests(traffic: Traffic) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "asgd_server_request_duration_seconds", "Time to serve one chunk of a push or pull.", labels=["op"]
    )
    for op, counts in traffic.counts.items():
        total, buckets = 0, []
        for limit, count in zip([*map(str, SECONDS_BUCKETS), "+Inf"], counts, strict=True):
            total += count
            buckets.append((limit, float(total)))
        family.add_metric([op], buckets=buckets, sum_value=traffic.seconds[op])
    yield family
