"""Spans of real runs: worker and servers tell one trace of an exchange, and a collector that hangs changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.collector import Span, collecting
from tests.local.run import Run

SPEC: dict[str, Any] = {
    "entrypoint": "asgd.examples.digits:task",
    "args": {"model": "mlp"},
    "workers": {"replicas": 2},
    "parameterServer": {"shards": 2},
    "stopAfter": {"updates": 40},
    "evaluation": {"everySeconds": 1000},
}
SSP: dict[str, Any] = {"algorithm": {"name": "ssp"}, "exchange": {"staleness": {"max": 2}}}


def told(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def the_tree_is_right(spans: list[Span]) -> None:
    """Every parent is there, in the same trace, and encloses its children; pulls alone stand below their push."""
    ids = {span.id: span for span in spans}
    assert len(ids) == len(spans)
    kinds = {
        "asgd.exchange": {"asgd.exchange"},
        "asgd.push": {"asgd.exchange"},
        "asgd.pull": {"asgd.exchange"},
    }
    kinds |= {
        "asgd.wait": {"asgd.exchange"},
        "asgd.serve.push": {"asgd.push"},
        "asgd.serve.pull": {"asgd.pull"},
    }
    for span in spans:
        assert span.began <= span.ended and not span.error, span
        if span.parent:
            parent = ids[span.parent]
            assert parent.trace == span.trace and parent.name in kinds[span.name], (parent, span)
            if span.name != "asgd.exchange":
                assert parent.began <= span.began and span.ended <= parent.ended, (parent, span)
        else:
            assert span.name == "asgd.exchange", span
        if span.name.startswith("asgd.serve"):
            assert span.attributes["asgd.shard"] == parent.attributes["asgd.shard"]


@pytest.mark.parametrize(
    "how", [{}, pytest.param(SSP, marks=pytest.mark.slow)], ids=["asgd", "pulls that wait"]
)
def test_worker_and_servers_tell_one_trace_of_each_exchange(
    how: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        told(monkeypatch, collector.environment(OTEL_TRACES_SAMPLER="always_on"))
        with Run(tmp_path, SPEC | how) as run:
            assert run.wait() == 0, run.words()
        summary = run.summary()
    spans = collector.spans
    the_tree_is_right(spans)
    pushes = [span for span in spans if span.name == "asgd.exchange" and span.attributes["asgd.push"]]
    assert len({span.trace for span in pushes}) == len(pushes) >= summary.updates >= 40
    for shard in (0, 1):
        served = [s for s in spans if s.name == "asgd.serve.push" and s.attributes["asgd.shard"] == shard]
        applied = [s for s in served if s.attributes["asgd.verdict"] == "applied"]
        assert len(applied) == summary.versions[shard]
        assert {s.service for s in served} == {"asgd-server"} and {s.kind for s in served} == {2}
    stale = [int(s.attributes["asgd.staleness"]) for s in spans if s.attributes.get("asgd.verdict") == "applied"
             and s.name == "asgd.serve.push"]  # fmt: skip
    assert max(stale) >= summary.staleness.max and min(stale) >= 0
    assert {s.service for s in pushes} == {"asgd-worker"} and {s.resource["asgd.worker"] for s in pushes} <= {
        0,
        1,
    }


def test_a_share_of_the_exchanges_is_traced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        told(monkeypatch, collector.environment(OTEL_TRACES_SAMPLER_ARG="0.3"))
        with Run(tmp_path, SPEC) as run:
            assert run.wait() == 0, run.words()
        summary = run.summary()
    spans = collector.spans
    the_tree_is_right(spans)
    pushes = {s.trace for s in spans if s.name == "asgd.exchange" and s.attributes["asgd.push"]}
    assert 0 < len(pushes) < summary.updates
    served = {s.trace for s in spans if s.name == "asgd.serve.push"}
    assert served == pushes


def test_a_collector_that_hangs_delays_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting(hangs=threading.Event()) as collector:
        told(
            monkeypatch, collector.environment(OTEL_TRACES_SAMPLER="always_on", OTEL_BSP_MAX_QUEUE_SIZE="10")
        )
        with Run(tmp_path, SPEC) as run:
            assert run.wait() == 0, run.words()
        summary = run.summary()
    assert summary.updates >= 40 and not collector.spans
    assert "spans have not reached the collector" in run.log("worker-0")
