"""An operator with nothing to do writes nothing, however many finished jobs lie around.

Jobs finish without pods: their namespace's quota allows none, and they have a deadline of one second. Every
object of the cluster is compared by its version before and after. The window is a minute with a resync every
five seconds: twelve rounds over all jobs, which at the default (600 s) are two hours.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.jobs import digits, until
from tests.e2e.release import SYSTEM, Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(900)
JOBS, WINDOW_SECONDS, RESYNC_SECONDS = 200, 60, 5
KINDS = (
    "asgdjobs,statefulsets,jobs,configmaps,secrets,services,pods,networkpolicies,poddisruptionbudgets,events"
)


def test_an_operator_with_200_finished_jobs_writes_nothing(release: Release) -> None:
    job = release.job("idle")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    release.kubectl.apply(quota, namespace="idle")
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stranger"}, "data": {"a": "b"}}
    release.kubectl.apply(stranger, namespace="idle")
    theirs = _version(job.run("get", "configmap", "stranger", "-o", "json"))
    release.upgrade(queue={"resyncSeconds": RESYNC_SECONDS, "perSecond": 50})
    document = digits(runPolicy={"activeDeadlineSeconds": 1})
    items = [document | {"metadata": {"name": f"job-{number}"}} for number in range(JOBS)]
    try:
        job.run("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        until(lambda: _finished(release) == JOBS, "all jobs have ended", seconds=300)
        until(lambda: _still(release, 10), "the cluster rests", seconds=200)
        before, requests = _versions(release), _requests(release)
        time.sleep(WINDOW_SECONDS)
        assert _versions(release) == before
        writes = {
            k: v for k, v in _requests(release).items() if 'verb="GET"' not in k and requests.get(k) != v
        }
        assert writes == {}
        passes = _metric(release, "asgd_operator_reconcile_total")
        assert sum(passes.values()) > JOBS * WINDOW_SECONDS / RESYNC_SECONDS / 4
        assert _version(job.run("get", "configmap", "stranger", "-o", "json")) == theirs
    finally:
        job.run("delete", "asgdjobs", "--all", "--wait=false")
        release.upgrade()


def _finished(release: Release) -> int:
    path = '{range .items[*]}{.status.phase}{"\\n"}{end}'
    return release.kubectl("-n", "idle", "get", "asgdjobs", "-o", f"jsonpath={path}").split().count("Failed")


def _still(release: Release, seconds: float) -> bool:
    before = _versions(release)
    time.sleep(seconds)
    return _versions(release) == before


def _versions(release: Release) -> dict[str, str]:
    path = '{range .items[*]}{.kind}/{.metadata.uid} {.metadata.resourceVersion}{"\\n"}{end}'
    lines = release.kubectl("-n", "idle", "get", KINDS, "-o", f"jsonpath={path}").splitlines()
    return dict(line.split() for line in lines)


def _version(text: str) -> str:
    return str(json.loads(text)["metadata"]["resourceVersion"])


def _requests(release: Release) -> dict[str, float]:
    return _metric(release, "asgd_operator_kube_requests_total")


def _metric(release: Release, name: str) -> dict[str, float]:
    pod = release.operator_pod()["metadata"]["name"]
    text = release.kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics")
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
    return {labels: float(count) for labels, _, count in lines}
