"""Many jobs against a real API server: none starves, each costs a bounded number of requests, none holds another up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from asgd.spec.status import Status
from tests.api import crowd
from tests.api.acting import Job, OperatorProcess, ShardZero, clear, operator, until
from tests.api.kubelet import Kubelet, Notebook
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(1800)  # hundreds of jobs, on a machine that may be busy
VALUES = Path(__file__).parents[2] / "charts" / "asgd-operator" / "values.yaml"
REQUESTS = 25
"""Of a job from its creation until it trains: 8 dry runs, 9 children, 4 statuses, 4 events."""
JOBS = 40
RUNNING, SILENT = 300, 13


@pytest.fixture
def shard() -> Iterator[ShardZero]:
    server = ShardZero()
    server.status = Status(job="x", phase="running", algorithm="asgd", updates=7)
    yield server
    server.close()


@pytest.fixture
def notebook(kubectl: Kubectl) -> Iterator[Notebook]:
    """With a kubelet that has every pod run."""
    clear(kubectl)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": crowd.NAMESPACE}})
    kubelet, book = Kubelet(kubectl.kubeconfig), Notebook(kubectl.kubeconfig)
    yield book
    kubelet.close()
    book.close()


def requests_of(process: OperatorProcess) -> float:
    """Reads are left out: those that look at what can be watched come with time, and a start has no others."""
    return sum(count for labels, count in crowd.requests(process).items() if 'verb="GET"' not in labels)


def test_a_job_costs_a_fixed_number_of_requests_until_it_runs(
    kubectl: Kubectl, notebook: Notebook, shard: ShardZero, tmp_path: Path
) -> None:
    with operator(kubectl, tmp_path) as process:
        before = requests_of(process)
        crowd.apply(kubectl, ["alone"], shard.port)
        until(lambda: "alone" in notebook.running, "it runs")
        until(lambda: "TrainingStarted" in Job(kubectl, crowd.NAMESPACE).events(), "that is told")
        assert requests_of(process) - before <= REQUESTS, crowd.requests(process)


def test_forty_jobs_at_once_start_in_the_order_in_which_they_came_within_the_charts_limits(
    kubectl: Kubectl, notebook: Notebook, shard: ShardZero, tmp_path: Path
) -> None:
    names = [f"new-{number}" for number in range(JOBS)]
    with operator(kubectl, tmp_path) as process:
        before = requests_of(process)
        crowd.apply(kubectl, names, shard.port)
        until(lambda: all(name in notebook.running for name in names), "all of them run", 600)
        # A few may repeat a write: a pass may see its own children late.
        assert (requests_of(process) - before) / JOBS <= REQUESTS + 1, crowd.requests(process)
        limit = yaml.safe_load(VALUES.read_text(encoding="utf-8"))["resources"]["limits"]["memory"]
        assert crowd.peak_mib(process) < int(limit.removesuffix("Mi"))
    assert crowd.displaced(notebook, names) <= 8, (
        "as many as are looked at at the same time, and their requests"
    )


@pytest.mark.slow
def test_a_new_job_has_its_first_child_within_seconds_among_three_hundred_that_run(
    kubectl: Kubectl, notebook: Notebook, shard: ShardZero, tmp_path: Path
) -> None:
    """Thirteen of them never answer. An idle operator takes half a second; five are the bound that is promised."""
    silent = crowd.Silent()
    running = [f"old-{number}" for number in range(RUNNING)]
    with operator(kubectl, tmp_path, QUEUE__PER_SECOND="1000", QUEUE__WORKERS="16"):
        crowd.apply(kubectl, running[:SILENT], silent.port)
        crowd.apply(kubectl, running[SILENT:], shard.port)
        until(lambda: all(name in notebook.running for name in running), "all of them run", 1500)
    with operator(kubectl, tmp_path) as process:
        until(lambda: process.passes() > 2 * RUNNING, "it has looked at all of them, and goes on", 300)
        for number in range(5):
            name = f"new-{number}"
            crowd.apply(kubectl, [name], shard.port)
            until(lambda name=name: name in notebook.first_child, "it has a child")  # type: ignore[misc]
            assert notebook.waits([name])[0] < 5, process.get("/metrics")[1]
    silent.close()
