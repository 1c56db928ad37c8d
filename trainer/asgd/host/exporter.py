"""The HTTP side of every process: /metrics for Prometheus, /status as JSON, /healthz and /readyz for the kubelet.

Served by a thread that only reads what the process publishes: a registry whose collectors look at plain counters when
they are scraped, so the update path pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asgd.errors import UserError


@dataclass(slots=True)
class Views:
    """What a process shows; each is called in the server's thread."""

    collect: Callable[[], Iterator[Metric]]
    status: Callable[[], bytes] = lambda: b"{}"
    ready: Callable[[], bool] = lambda: True


class _Collector(Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


class Exporter:
    """Serves `views` on `address` (host:port, port 0 for any free one; empty: nowhere). `address` tells where.

    Raises UserError when the port is in use.
    """

    def __init__(self, address: str, views: Views) -> None:
        self.address = ""
        if not address:
            return
        registry = CollectorRegistry()
        registry.register(_Collector(views.collect))
        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host, int(port)), _handler(registry, views))
        except OSError as error:
            raise UserError(f"spec.metrics.port: {address} cannot be served: {error.strerror}") from error
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, name="exporter", daemon=True).start()

    def close(self) -> None:
        """Stops serving."""
        if self.address:
            self._server.shutdown()
            self._server.server_close()


def _handler(registry: CollectorRegistry, views: Views) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encoder, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, kind, encoder(registry))
            elif path == "/status":
                self._answer(200, "application/json", views.status())
            elif path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            elif path == "/readyz":
                ready = views.ready()
                self._answer(200 if ready else 503, "text/plain", b"ready\n" if ready else b"not ready\n")
            else:
                self._answer(404, "text/plain", b"known: /metrics /status /healthz /readyz\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line."""

    return Handler
