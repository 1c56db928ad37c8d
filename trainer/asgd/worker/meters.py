"""A worker's own figures: plain counters that the loop feeds and the exporter reads when it is scraped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from asgd.host.versions import build_info
from asgd.spec.durations import Durations
from asgd.spec.phases import COMPUTE, DATA, PUSH, WAIT
from asgd.spec.status import WorkerTimes
from asgd.tracing.counted import spans_metric
from asgd.wire import limits
from asgd.wire.reports import WorkerReport
from asgd.worker.phases import Phases
from asgd.worker.scalars import Scalars
from asgd.worker.sending.headers import Outcome
from asgd.worker.wishes import Observer

if TYPE_CHECKING:
    from asgd.tracing.spans import Spans

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STAGES = ("data", "compute", "exchange", "wait")
_PHASES = {"data": DATA, "compute": COMPUTE, "exchange": PUSH, "wait": WAIT}


class Meters(Observer):
    """Counts steps, samples, seconds by stage, refusals. `overlapped`: exchanges run beside the steps."""

    def __init__(self, overlapped: bool = False) -> None:
        self.own = Durations()
        """From one step to the next without waiting for an exchange: what `asgd simulate --calibrate` goes by."""
        self.exchanges = Durations()
        self.phases = Phases()
        self._beside = overlapped
        """Exchanges are timed in a thread of their own, which says nothing of what this worker does."""
        self._blocking = "wait" if overlapped else "exchange"
        self._blocked = 0.0
        self.beside = Scalars()
        self.told: dict[str, float] = {}
        """What the newest push has told of it."""
        self.samples = 0
        self.steps = 0
        self.loss: float | None = None
        self.gradient_norm: float | None = None
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.step_counts = [0] * (len(_BUCKETS) + 1)
        self.step_seconds = 0.0
        self.refused: Counter[str] = Counter()
        self.batches_dropped = 0
        self.heal: Callable[[], None] = lambda: None
        """Mends what a batch that is not finite has left in the model beside its weights."""
        self.versions: tuple[int, ...] = ()
        self.ways: Callable[[], list[str]] = list
        """What bulk to each shard goes over."""
        self.stepped: Callable[[], None] = lambda: None
        """Called after each step, in the thread that computes."""
        self.spans: Spans | None = None
        """Where this worker is traced."""
        self.mark: Callable[[str], AbstractContextManager[object]] = nullcontext
        """Around each stage, for a profiler to name it."""
        self._last = time.perf_counter()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the block's duration to a stage."""
        began = time.perf_counter()
        told = not (self._beside and stage == "exchange")
        before = self.phases.turn(_PHASES[stage]) if told else COMPUTE
        try:
            with self.mark(stage):
                yield
        finally:
            if told:
                self.phases.turn(before)
        took = time.perf_counter() - began
        self.seconds[stage] += took
        if stage == "exchange":
            self.exchanges.add(took)

    def step(self, samples: int, loss: float | None) -> None:
        """A step over `samples` samples is done."""
        now = time.perf_counter()
        took, self._last = now - self._last, now
        blocked, self._blocked = self.seconds[self._blocking] - self._blocked, self.seconds[self._blocking]
        if self.steps:  # the first one began with the process
            self.own.add(took - blocked)
        self.step_seconds += took
        self.step_counts[sum(took > limit for limit in _BUCKETS)] += 1
        self.samples += samples
        self.steps += 1
        self.loss = loss if loss is not None else self.loss
        self.stepped()

    def dropped(self) -> None:
        """A batch was left out, for its loss or gradient was not finite."""
        self.batches_dropped += 1
        self.beside.drop()
        self.heal()

    def scalars(self) -> dict[str, float]:
        """What the loss function has returned beside the loss since the last push, as means."""
        found = self.beside.take()
        self.told = found or self.told
        return found

    def exchanged(self, outcome: Outcome) -> None:
        """An exchange came back."""
        self.versions = outcome.versions
        for verdict in outcome.verdicts:
            if verdict.startswith("refused:"):
                self.refused[verdict.removeprefix("refused:")] += 1

    def report(self) -> WorkerReport:
        """What goes along with a heartbeat."""
        times = WorkerTimes(own=self.own.told(), exchange=self.exchanges.told())
        lanes = "+".join(sorted(set(self.ways())))
        return WorkerReport(times, phases=self.phases.told(), lane=lanes[: limits.NAME_MOST])

    def collect(self) -> Iterator[Metric]:
        """All metrics of a worker (prefix asgd_worker_)."""
        yield CounterMetricFamily(
            "asgd_worker_samples", "Samples computed by this worker.", value=self.samples
        )
        yield CounterMetricFamily("asgd_worker_steps", "Steps computed by this worker.", value=self.steps)
        yield self._durations()
        stages = CounterMetricFamily(
            "asgd_worker_stage_duration_seconds", "Seconds spent by stage of a step.", labels=["stage"]
        )
        for stage, seconds in self.seconds.items():
            stages.add_metric([stage], seconds)
        yield stages
        if self.loss is not None:
            yield GaugeMetricFamily("asgd_worker_loss", "Loss of the newest step.", value=self.loss)
        beside = GaugeMetricFamily(
            "asgd_worker_scalar", "What the loss function returns beside the loss, in the newest push.",
            labels=["name"],
        )  # fmt: skip
        for name, value in self.told.items():
            beside.add_metric([name], value)
        yield beside
        if self.gradient_norm is not None:
            yield GaugeMetricFamily(
                "asgd_worker_gradient_norm", "Norm of the newest gradient.", value=self.gradient_norm
            )
        pulled = GaugeMetricFamily("asgd_worker_pulled_version", "Version last pulled.", labels=["shard"])
        for shard, version in enumerate(self.versions):
            pulled.add_metric([str(shard)], version)
        yield pulled
        lanes = GaugeMetricFamily(
            "asgd_worker_lane", "1 for what gradients and weights go over.", labels=["shard", "lane"]
        )
        for shard, lane in enumerate(self.ways()):
            lanes.add_metric([str(shard), lane], 1)
        yield lanes
        refused = CounterMetricFamily(
            "asgd_worker_pushes_refused", "Pushes of this worker that a shard refused.", labels=["reason"]
        )
        for reason, count in dict(self.refused).items():
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily(
            "asgd_worker_batches_dropped", "Batches left out: their loss or gradient was not finite.",
            value=self.batches_dropped,
        )  # fmt: skip
        yield spans_metric("asgd_worker_spans", self.spans)
        yield build_info("asgd_worker_build_info", "torch")

    def _durations(self) -> Metric:
        total, buckets = 0, []
        for limit, count in zip([*map(str, _BUCKETS), "+Inf"], list(self.step_counts), strict=True):
            total += count
            buckets.append((limit, float(total)))
        return HistogramMetricFamily(
            "asgd_worker_step_duration_seconds", "Time from one step to the next.", buckets=buckets,
            sum_value=self.step_seconds,
        )  # fmt: skip
