"""The operator's spans: one of each reconcile, and below it each request that it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.acting import QUICK, Job, operator, until
from tests.cluster.kubectl import Kubectl
from tests.collector import collecting

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for an API server, on a machine that may be busy


def test_a_reconcile_is_a_span_with_its_requests_below(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        for name, value in collector.environment(OTEL_BSP_SCHEDULE_DELAY="200").items():
            monkeypatch.setenv(name, value)
        with operator(kubectl, tmp_path, **QUICK) as running:
            job = Job(kubectl, "traced")
            job.create()
            until(lambda: job.get("statefulset", "traced-server"), "its servers are made")
            until(lambda: any(s.name == "PATCH StatefulSet" for s in collector.spans), "that is a span")
            counted = running.samples("asgd_operator_spans_total")
        passes = {s.id: s for s in collector.spans if s.name == "asgd.reconcile"}
        requests = [s for s in collector.spans if s.name != "asgd.reconcile"]
    assert counted['{outcome="exported"}'] > 0 and counted['{outcome="dropped"}'] == 0
    for span in passes.values():
        below = [s for s in requests if s.parent == span.id]
        assert span.attributes["asgd.requests"] == len(below) and span.service == "asgd-operator"
        assert all(s.trace == span.trace and span.began <= s.began <= s.ended <= span.ended for s in below)
    assert requests and {s.parent for s in requests} <= set(passes)
    # NB: jobs that other tests have left at this API server are looked at as well.
    named = {(span.attributes["k8s.namespace.name"], span.attributes["asgd.job"]) for span in passes.values()}
    assert ("traced", "traced") in named
    made = next(s for s in requests if s.name == "PATCH StatefulSet")
    assert made.attributes["http.request.method"] == "PATCH" and made.kind == 3
    assert str(made.attributes["url.path"]).endswith("/namespaces/traced/statefulsets/traced-server")
