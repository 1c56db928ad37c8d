"""An OTLP/HTTP receiver as the protocol documents it: what comes is decoded by OpenTelemetry's own protobuf package."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Value = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """One, as it came."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    began: int
    ended: int
    kind: int
    attributes: dict[str, Value]
    error: str
    resource: dict[str, Value]


@dataclass
class Collector:
    """`spans`: what has come. `hangs`: requests are never answered; `refuses`: they are, with that status."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    requests: int = 0
    refuses: int = 0
    hangs: threading.Event | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """What sends a process's spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, **more}

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_span(each, resource) for each in scope.spans]


def _attributes(found: Any) -> dict[str, Value]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in found}


def _span(each: Any, resource: dict[str, Value]) -> Span:
    return Span(
        str(resource["service.name"]), each.name, each.trace_id, each.span_id, each.parent_span_id,
        each.start_time_unix_nano, each.end_time_unix_nano, each.kind, _attributes(each.attributes),
        each.status.message if each.status.code == 2 else "", resource,
    )  # fmt: skip


@contextmanager
def collecting(**how: Any) -> Iterator[Collector]:
    """A collector on a port of its own, until the block ends."""
    collector = Collector(**how)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests += 1
            if collector.hangs:
                collector.hangs.wait()
            if collector.hangs:
                return
            if not collector.refuses:
                collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(collector.refuses or 200)
            self.send_header("Content-Type", "application/x-protobuf")
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        if collector.hangs:
            collector.hangs.set()
        server.shutdown()
        server.server_close()
