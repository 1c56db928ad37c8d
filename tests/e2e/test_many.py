"""Many small jobs applied at once: all train, none starves, the first come first, and who waits says for what.

Printed (`pytest -s`): how long it took, the operator's requests for each job, its CPU and its memory.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from tests.e2e.jobs import digits, until
from tests.e2e.release import SYSTEM, Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(3600)
JOBS = int(os.environ.get("ASGD_E2E_JOBS", "6"))
"""40 take a quarter of an hour on two cores."""
SECONDS_EACH = 60
REQUESTS = "asgd_operator_kube_requests_total"
CPU = "process_cpu_seconds_total"
MEMORY = "process_resident_memory_bytes"


def test_many_jobs_applied_at_once_all_complete_and_those_that_wait_say_for_what(release: Release) -> None:
    job = release.job("many")
    small = {
        "parameterServer": {"shards": 1, "resources": _memory("160Mi")},
        "workers": {"replicas": 1, "resources": _memory("384Mi")},
        "stopAfter": {"epochs": 1},
    }
    document = digits(**small, args={"model": "mlp"})
    items = [document | {"metadata": {"name": f"job-{number:02}"}} for number in range(JOBS)]
    before, began = _measured(release), time.monotonic()
    memory = [before[MEMORY]]
    job.run("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    speechless: set[str] = set()

    def all_complete() -> bool:
        items = release.kubectl.json("-n", "many", "get", "asgdjobs")["items"]
        speechless.update(_speechless(item) for item in items)
        memory.append(_measured(release)[MEMORY])
        return sum(item.get("status", {}).get("phase") == "Succeeded" for item in items) == JOBS

    until(all_complete, "all jobs are complete", seconds=300 + JOBS * SECONDS_EACH)
    took, after = time.monotonic() - began, _measured(release)
    assert speechless <= {""}
    started = _starts(release)
    moved = sum(abs(place - int(name.removeprefix("job-"))) for place, name in enumerate(started)) / JOBS
    assert moved <= JOBS / 4, f"the order of arrival is lost: {started}"
    requests = (after[REQUESTS] - before[REQUESTS]) / JOBS
    print(
        f"{JOBS} jobs in {took:.0f} s; {requests:.0f} requests a job; the operator used"
        f" {after[CPU] - before[CPU]:.0f} s of CPU and {max(memory) / 2**20:.0f} MiB"
    )
    job.run("delete", "asgdjobs", "--all", "--wait=false")


def _memory(requested: str) -> dict[str, Any]:
    """What its pod really uses, so that the scheduler lets wait those for whom no node has room."""
    return {"requests": {"memory": requested}}


def _speechless(item: dict[str, Any]) -> str:
    """A job that waits and does not say for what, once the operator has looked at it."""
    status = item.get("status", {})
    waits = status.get("phase") in ("Starting", "Recovering", "WaitingForWorkers")
    return f"{item['metadata']['name']}: {status}" if waits and not status.get("message") else ""


def _starts(release: Release) -> list[str]:
    """Jobs in the order in which their servers were made, as far as whole seconds tell."""
    events = release.kubectl.json("-n", "many", "get", "events")["items"]
    started = {
        event["involvedObject"]["name"]: event["metadata"]["creationTimestamp"]
        for event in sorted(events, key=lambda event: str(event["metadata"]["creationTimestamp"]))
        if event["reason"] == "ServersStarted"
    }
    return sorted(started, key=lambda name: (started[name], name))


def _measured(release: Release) -> dict[str, float]:
    """Of the operator, since its start: requests to the API server, CPU in seconds, and its memory now in bytes."""
    pod = release.operator_pod()["metadata"]["name"]
    text = release.kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics")
    found = dict.fromkeys((REQUESTS, CPU, MEMORY), 0.0)
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if (name := series.partition("{")[0]) in found:
            found[name] += float(value)
    return found
