"""Finished spans on their way to a collector: OpenTelemetry's library behind a queue that never holds anybody up.

Whoever is traced says what has happened after it has, so nothing is carried around meanwhile. A thread of the library
sends them; while the collector does not take them the queue fills up, and what finds no room is counted and dropped.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from asgd import __version__
from asgd.tracing.settings import ALWAYS_OFF, ALWAYS_ON, RATIO, Settings, Warn

CLOSE_SECONDS = 2.0
"""How long a process that ends waits for its last spans to be taken."""
AGAIN_SECONDS = 300.0
"""Pause between two words about a collector that does not take spans."""
BATCH = 512
INTERNAL, SERVER, CLIENT = SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT
_PROGRAM = "asgd"

Attributes = Mapping[str, str | int | float | bool]


class Spans:
    """Of one process. Calls cost microseconds and raise nothing; made by one thread at a time."""

    def __init__(
        self, service: str, about: Attributes, settings: Settings, warn: Warn, exporter: SpanExporter | None = None
    ) -> None:  # fmt: skip
        sent = _Exporter(exporter or OTLPSpanExporter(), settings.endpoint, warn)
        self._queue = _Queue(sent, settings.queue)
        self._ids = _Ids()
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
        self._provider = TracerProvider(
            sampler=_sampler(settings), resource=Resource.create({**named, "service.version": __version__, **about}),
            shutdown_on_exit=False, id_generator=self._ids,
        )  # fmt: skip
        self._provider.add_span_processor(self._queue)
        shares = {ALWAYS_ON: 1.0, ALWAYS_OFF: 0.0, RATIO: settings.share}
        share = shares[settings.sampler.removeprefix("parentbased_")]
        self._bound = sampling.TraceIdRatioBased.get_bound_for_rate(share)
        self._tracer = self._provider.get_tracer(_PROGRAM, __version__)
        self._warn = warn

    def wants(self, trace: int) -> bool:
        """Whether this trace is sampled.

        NB: what the sampler says, too, but in a tenth of the time: every exchange asks.
        """
        return trace & sampling.TraceIdRatioBased.TRACE_ID_LIMIT < self._bound

    def fresh(self) -> int:
        """A trace id that nobody else has."""
        return self._ids.generate_trace_id()

    def add(
        self, name: str, began: int, ended: int, *, trace: int, span: int = 0, parent: int = 0, remote: bool = False,
        kind: SpanKind = INTERNAL, attributes: Attributes | None = None, error: str = "",
    ) -> int:  # fmt: skip
        """A span of a sampled trace from `began` to `ended` (`nanoseconds`); returns its id, which is `span` if given.

        `remote`: the span `parent` is another process's. `error`: why it failed.
        """
        self._ids.trace, self._ids.span = trace, span
        context = None
        if parent:
            of = SpanContext(trace, parent, remote, TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(of))
        made = self._tracer.start_span(name, context, kind, attributes, start_time=began)
        self._ids.trace = self._ids.span = 0
        if error:
            made.set_status(Status(StatusCode.ERROR, error))
        made.end(max(began, ended))
        return made.get_span_context().span_id

    @property
    def counts(self) -> dict[str, int]:
        """Spans by what has become of them (`counted.OUTCOMES`)."""
        sent = self._queue.sent
        return {"exported": sent.exported, "failed": sent.failed, "dropped": self._queue.dropped}

    def close(self) -> None:
        """Sends what is left, for `CLOSE_SECONDS` at most."""
        # NB: the library's own shutdown waits for 30 s for a collector that hangs.
        ending = Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)
        lost = self._queue.accepted - self._queue.sent.exported + self._queue.dropped
        if lost:
            self._warn(f"{lost:,} spans have not reached the collector")


def nanoseconds() -> int:
    """Of the wall clock, as spans have them; it never goes back while a process lives."""
    return _EPOCH + time.monotonic_ns()


_EPOCH = time.time_ns() - time.monotonic_ns()


class _Ids(IdGenerator):
    """Random ones, where none are told.

    NB: not by Python's own generator, as the library's: users' code draws from it, and the workers of a job, which it
    has seeded alike, would give the same ids.
    """

    def __init__(self) -> None:
        self.trace = self.span = 0
        self._random = random.Random(os.urandom(16))

    def generate_span_id(self) -> int:
        return self.span or self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self.trace or self._random.getrandbits(128) or 1


def _sampler(settings: Settings) -> sampling.Sampler:
    base, name = settings.sampler.startswith("parentbased_"), settings.sampler.removeprefix("parentbased_")
    found: dict[str, Callable[[], sampling.Sampler]] = {
        ALWAYS_ON: lambda: sampling.ALWAYS_ON,
        ALWAYS_OFF: lambda: sampling.ALWAYS_OFF,
        RATIO: lambda: sampling.TraceIdRatioBased(settings.share),
    }
    root = found[name]()
    return sampling.ParentBased(root) if base else root


class _Queue(BatchSpanProcessor):
    """The library's own, which takes nothing more when it is full: it would drop the oldest without counting them."""

    def __init__(self, sent: _Exporter, room: int) -> None:
        self.sent, self.accepted, self.dropped, self._room = sent, 0, 0, room
        super().__init__(sent, max_queue_size=room, max_export_batch_size=min(BATCH, room))

    def on_end(self, span: ReadableSpan) -> None:
        if self.accepted - self.sent.taken >= self._room:
            self.dropped += 1
            return
        self.accepted += 1
        super().on_end(span)


class _Exporter(SpanExporter):
    """Counts what the collector takes, and says seldom that it takes nothing."""

    def __init__(self, exporter: SpanExporter, endpoint: str, warn: Warn) -> None:
        self._exporter, self._endpoint, self._warn = exporter, endpoint, warn
        self.taken = self.exported = self.failed = 0
        self._said = float("-inf")
        self._reason = _last_words()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            return result
        self.failed += len(spans)
        if time.monotonic() - self._said > AGAIN_SECONDS:
            self._said = time.monotonic()
            self._warn(
                f"{self._endpoint} takes no spans, and the work goes on without them: {self._reason.text}"
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Words(logging.Handler):
    """Keeps the library's last complaint, which it would repeat every few seconds."""

    text = "no reason given"

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _last_words() -> _Words:
    words, logger = _Words(logging.WARNING), logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [words], False
    return words
