"""Operators of a test's own: among many jobs, for some namespaces only, and two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asgd import exitcodes
from tests.api.acting import QUICK, Job, clear, operator, until
from tests.api.proxy import Proxy
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy
JOBS_OF_A_CROWD = 120
"""More than any limit on concurrent workers that somebody may set with kopf."""


def test_an_operator_that_starts_among_many_jobs_looks_at_each(kubectl: Kubectl, tmp_path: Path) -> None:
    clear(kubectl)
    crowd = Job(kubectl, "crowd")
    crowd.create(runPolicy={"suspend": True})
    document = json.loads(kubectl("-n", "crowd", "get", "asgdjob", "crowd", "-o", "json"))
    items = [
        {"apiVersion": document["apiVersion"], "kind": "AsgdJob", "metadata": {"name": f"crowd-{number}"}}
        | {"spec": document["spec"]}
        for number in range(JOBS_OF_A_CROWD)
    ]
    many = {"apiVersion": "v1", "kind": "List", "items": items}
    kubectl("-n", "crowd", "create", "-f", "-", stdin=json.dumps(many))
    with operator(kubectl, tmp_path, WATCH__NAMESPACES="[crowd]", WATCH__NODES="false", **QUICK) as process:
        counted = {'{phase="Suspended"}': JOBS_OF_A_CROWD + 1.0}
        until(lambda: process.samples("asgd_operator_jobs") == counted, "every job has its phase", 120)
    clear(kubectl)


def test_a_namespaced_operator_serves_only_its_namespaces(kubectl: Kubectl, tmp_path: Path) -> None:
    inside, outside = Job(kubectl, "inside"), Job(kubectl, "outside")
    clear(kubectl)
    with operator(kubectl, tmp_path, WATCH__NAMESPACES="[inside]", WATCH__NODES="false", **QUICK) as process:
        outside.create(managedBy="asgd.dev/asgd-operator")
        inside.create()
        until(lambda: inside.get("statefulset", "inside-server"), "its own job is started")
        own = {'{phase="Starting"}': 1.0}
        until(lambda: process.samples("asgd_operator_jobs") == own, "its own job is counted")
        assert 'namespace="outside"' not in process.get("/metrics")[1]


def test_a_second_operator_waits_for_the_lease(kubectl: Kubectl, tmp_path: Path) -> None:
    lease = {"LEADER_ELECTION__ENABLED": "true", "LEADER_ELECTION__NAMESPACE": "default"}
    with operator(kubectl, tmp_path, **QUICK, **lease) as first:
        until(lambda: first.samples("asgd_operator_leader").get("") == 1, "the first one leads")
        with operator(kubectl, tmp_path, **QUICK, **lease) as second:
            assert second.samples("asgd_operator_leader")[""] == 0
            assert second.passes() == 0
        until(lambda: first.passes() > 0, "the first one works")


def test_a_holder_that_the_api_server_no_longer_answers_ends_before_the_next_one_leads(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    lease = {"LEADER_ELECTION__ENABLED": "true", "LEADER_ELECTION__NAMESPACE": "default"}
    lease["LEADER_ELECTION__NAME"] = "cut-off"
    proxy = Proxy(kubectl.kubeconfig)
    try:
        with operator(Kubectl(proxy.kubeconfig(tmp_path)), tmp_path, **QUICK, **lease) as first:
            until(lambda: first.samples("asgd_operator_leader").get("") == 1, "the first one leads")
            with operator(kubectl, tmp_path, **QUICK, **lease) as second:
                proxy.swallow()
                until(lambda: first.process.poll() is not None, "the first one ends")
                first.ends_with = exitcodes.TRY_AGAIN
                assert second.samples("asgd_operator_leader")[""] == 0, "by then nobody else leads"
                assert "the Lease default/cut-off is lost" in first.log.read_text()
                until(lambda: second.samples("asgd_operator_leader").get("") == 1, "the second one leads")
    finally:
        proxy.close()
