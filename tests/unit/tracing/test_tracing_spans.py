"""Spans reach a collector as they were told, and a collector that is away, slow or full holds nobody up."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time

import pytest

from asgd.tracing.ids import ids_of
from asgd.tracing.opening import open_spans
from asgd.tracing.settings import Settings
from asgd.tracing.spans import CLOSE_SECONDS, SERVER, Spans, _sampler, nanoseconds
from tests.collector import Collector, collecting


def opened(collector: Collector, monkeypatch: pytest.MonkeyPatch, said: list[str], **env: str) -> Spans:
    for name, value in collector.environment(**env).items():
        monkeypatch.setenv(name, value)
    spans = open_spans("asgd-worker", {"asgd.job": "digits"}, said.append, share=1.0)
    assert spans is not None
    return spans


def test_a_span_arrives_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with collecting() as collector:
        spans = opened(collector, monkeypatch, said, OTEL_RESOURCE_ATTRIBUTES="team=vision")
        began = nanoseconds()
        root = spans.add("root", began, began + 5000, trace=77, span=5, attributes={"asgd.worker": 3})
        child = spans.add(
            "child",
            began + 1000,
            began + 2000,
            trace=77,
            parent=root,
            remote=True,
            kind=SERVER,
            error="stale",
        )
        spans.close()
    first, second = collector.spans
    assert root == 5 and first.trace == second.trace == (77).to_bytes(16, "big")
    assert (first.id, first.parent, second.parent) == ((5).to_bytes(8, "big"), b"", first.id)
    assert second.id == child.to_bytes(8, "big") and (first.began, first.ended) == (began, began + 5000)
    assert first.attributes == {"asgd.worker": 3} and (first.error, second.error) == ("", "stale")
    assert abs(first.began - time.time_ns()) < 60e9
    told = {"service.name": "asgd-worker", "asgd.job": "digits", "team": "vision"}
    assert told.items() <= first.resource.items()
    assert spans.counts == {"exported": 2, "failed": 0, "dropped": 0} and not said


def test_what_users_code_draws_is_as_without_spans_and_ids_differ_after_the_same_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with collecting() as collector:
        drawn = []
        for _ in range(2):
            spans = opened(collector, monkeypatch, [])
            random.seed(1)
            spans.add("one", 1, 2, trace=spans.fresh())
            drawn.append(random.random())
            spans.close()
    random.seed(1)
    assert drawn == [random.random()] * 2
    assert len({span.id for span in collector.spans}) == len({span.trace for span in collector.spans}) == 2


@pytest.mark.parametrize("base", ["", "parentbased_"])
@pytest.mark.parametrize(("name", "share"), [("always_on", 1), ("always_off", 0), ("traceidratio", 0.3)])
def test_spans_are_wanted_of_the_traces_that_the_sampler_would_take(
    base: str, name: str, share: float
) -> None:
    settings = Settings(base + name, share, 10, "http://c:4318")
    spans = Spans("asgd-worker", {}, settings, print)
    sampler = _sampler(settings)
    traces = [ids_of("digits", 0, 1, number, 0).trace for number in range(1, 501)]
    taken = [sampler.should_sample(None, trace, "x").decision.is_sampled() for trace in traces]
    assert [spans.wants(trace) for trace in traces] == taken
    assert abs(sum(taken) / 500 - share) < 0.1


def test_a_service_s_own_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        spans = opened(collector, monkeypatch, [], OTEL_SERVICE_NAME="mine")
        spans.add("one", 1, 2, trace=1)
        spans.close()
    assert collector.spans[0].service == "mine"


def test_a_collector_that_hangs_holds_nobody_up_and_what_it_loses_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    with collecting(hangs=threading.Event()) as collector:
        spans = opened(collector, monkeypatch, said, OTEL_BSP_MAX_QUEUE_SIZE="100")
        began = time.perf_counter()
        for number in range(1, 1001):
            spans.add("one", 1, 2, trace=number)
        took = time.perf_counter() - began
        counts = spans.counts
        closing = time.perf_counter()
        spans.close()
        closed = time.perf_counter() - closing
    # NB: whole batches are in the exporter's hands, which do not stand in the queue any more.
    assert counts["exported"] == 0 and 700 <= counts["dropped"] <= 900
    assert took < 1.0 and closed < CLOSE_SECONDS + 1.0
    assert said == ["1,000 spans have not reached the collector"]


def test_a_collector_that_is_away_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    away = Collector("http://127.0.0.1:9")
    spans = opened(
        away, monkeypatch, said, OTEL_BSP_SCHEDULE_DELAY="20", OTEL_EXPORTER_OTLP_TIMEOUT="1"
    )  # fmt: skip
    until = time.monotonic() + 10
    while spans.counts["failed"] < 2 and time.monotonic() < until:
        spans.add("one", 1, 2, trace=1)
        time.sleep(0.05)
    spans.close()
    assert spans.counts["failed"] >= 2 and spans.counts["exported"] == 0
    first, *_ = said
    assert first.startswith("http://127.0.0.1:9 takes no spans, and the work goes on without them: ")
    assert sum("takes no spans" in each for each in said) == 1


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
    monkeypatch.setitem(sys.modules, "asgd.tracing.spans", None)
    assert open_spans("asgd-worker", {}, said.append) is None
    assert said == ["no spans: asgd.tracing.spans is not installed (pip install 'asgd-operator[tracing]')"]


def test_who_is_not_traced_does_not_load_the_library() -> None:
    code = (
        "import sys, asgd.worker.sending.centre, asgd.server.process, asgd_operator.run;"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry') or name.endswith('traced')))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"
