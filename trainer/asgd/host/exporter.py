"""The HTTP side of every process: /metrics for Prometheus, /status as JSON, /healthz and /readyz for the kubelet.

Served by one thread (`http.py`) that only reads what the process publishes: a registry whose collectors look at plain
counters when they are scraped, so the update path pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asgd.errors import UserError
from asgd.host.http import Answer, HttpServer, Request


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
        self._views = views
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(views.collect))
        host, _, port = address.rpartition(":")
        try:
            self._server = HttpServer(host, int(port), self._answer)
        except OSError as error:
            raise UserError(f"spec.metrics.port: {address} cannot be served: {error.strerror}") from error
        self.address = f"{host}:{self._server.port}"

    def close(self) -> None:
        """Stops serving."""
        if self.address:
            self._server.close()

    def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":
                encoder, kind = choose_encoder(request.headers.get("accept", ""))
                return Answer(200, kind, encoder(self._registry))
            case "/status":
                return Answer(200, "application/json", self._views.status())
            case "/healthz":
                return Answer(200, "text/plain", b"ok\n")
            case "/readyz":
                ready = self._views.ready()
                return Answer(200 if ready else 503, "text/plain", b"ready\n" if ready else b"not ready\n")
            case _:
                return Answer(404, "text/plain", b"known: /metrics /status /healthz /readyz\n")
