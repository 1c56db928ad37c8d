"""The port of /metrics and /healthz answers whoever asks, whatever others do with their connections."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from asgd.host import http
from asgd.host.exporter import Exporter, Views


class Shown:
    """What the process shows, and an exporter that shows it."""

    def __init__(self) -> None:
        self.status = b'{"job": "digits"}'
        self.ready, self.broken = True, False
        self.exporter = Exporter("127.0.0.1:0", Views(self.collect, lambda: self.status, lambda: self.ready))
        host, _, port = self.exporter.address.rpartition(":")
        self.where = host, int(port)

    def collect(self) -> Iterator[Metric]:
        if self.broken:
            raise RuntimeError("no figures today")
        yield GaugeMetricFamily("asgd_test", "One figure.", value=3)

    def get(self, path: str, **headers: str) -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"http://{self.exporter.address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    def raw(self, sent: bytes) -> bytes:
        """Everything that is answered to `sent`."""
        with socket.create_connection(self.where, timeout=20) as stream:
            stream.sendall(sent)
            found = b""
            while part := stream.recv(1 << 16):
                found += part
            return found

    def idle(self, count: int, sent: bytes = b"") -> list[socket.socket]:
        """Connections of a stranger who says nothing, or begins to."""
        found = []
        for _ in range(count):
            found.append(socket.create_connection(self.where))
            if sent:
                found[-1].sendall(sent)
        return found


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def shown() -> Iterator[Shown]:
    made = Shown()
    yield made
    made.exporter.close()


def test_each_page_shows_its_view(shown: Shown) -> None:
    assert shown.get("/healthz")[::2] == (200, b"ok\n")
    assert shown.get("/readyz")[::2] == (200, b"ready\n")
    shown.ready = False
    assert shown.get("/readyz")[::2] == (503, b"not ready\n")
    code, kind, body = shown.get("/status?pretty=1")
    assert (code, kind, json.loads(body)) == (200, "application/json", {"job": "digits"})
    code, kind, body = shown.get("/metrics")
    assert code == 200 and kind.startswith("text/plain") and b"asgd_test 3.0" in body
    _, kind, body = shown.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text") and body.endswith(b"# EOF\n")
    assert shown.get("/")[0] == 404


def test_an_answer_larger_than_any_buffer_arrives_whole(shown: Shown) -> None:
    shown.status = b'"' + random.Random(1).randbytes(1 << 22).hex().encode() + b'"'
    assert shown.get("/status")[2] == shown.status


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/2\r\n\r\n", b"400"),
        (b"\xff\x00\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /" + b"a" * (http.REQUEST_MOST - 5), b"431"),
    ],
)
def test_what_is_no_request_for_a_page_is_told_so(shown: Shown, sent: bytes, code: bytes) -> None:
    if code == b"431":
        sent += b"a"
    assert shown.raw(sent).split(b" ")[1] == code


def test_a_request_may_come_in_pieces(shown: Shown) -> None:
    with socket.create_connection(shown.where, timeout=20) as stream:
        for piece in (b"GET /hea", b"lthz HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
            stream.sendall(piece)
            time.sleep(0.02)
        assert b"200 OK" in stream.recv(1000)


def test_a_page_that_fails_is_its_own_business(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    shown.broken = True
    assert [shown.get("/metrics")[0] for _ in range(3)] == [500] * 3
    assert shown.get("/healthz")[0] == 200
    told = "".join(capsys.readouterr())
    assert told.count("cannot be shown:") == 1, "told once"
    shown.broken = False
    assert shown.get("/metrics")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost:"], ids=["idle", "half a request"])
def test_health_is_told_while_200_connections_are_held_open(shown: Shown, sent: bytes) -> None:
    threads, before = threading.active_count(), descriptors()
    held = shown.idle(200, sent)
    for _ in range(5):
        assert shown.get("/healthz")[0] == 200
    assert threading.active_count() == threads, "no thread for a connection"
    mine = descriptors() - before - len(held)
    assert mine <= http.CONNECTIONS_MOST
    for stream in held:
        stream.close()


def test_a_flood_of_half_requests_that_goes_on_stops_no_probe(shown: Shown) -> None:
    over = threading.Event()

    def flood() -> None:
        held: list[socket.socket] = []
        while not over.is_set():
            held.append(socket.create_connection(shown.where))
            held[-1].sendall(b"GET / HT")
            if len(held) > 150:
                held.pop(0).close()
            time.sleep(0.001)
        for stream in held:
            stream.close()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert [shown.get("/healthz")[0] for _ in range(20)] == [200] * 20
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /status HTTP/1.1\r\n\r\n"], ids=["asks nothing", "takes nothing"]
)
def test_who_asks_or_takes_nothing_is_hung_up_on(
    shown: Shown, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.2)
    shown.status = bytes(1 << 26)
    (stream,) = shown.idle(1, sent)
    stream.settimeout(30)
    time.sleep(1.5)
    taken = 0
    try:
        while part := stream.recv(1 << 20):
            taken += len(part)
    except ConnectionResetError:
        pass
    assert taken < len(shown.status)
    stream.close()
