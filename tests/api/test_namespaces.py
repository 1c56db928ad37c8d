"""A namespace that is deleted with a job in it ends, also where a worker had failed before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.acting import QUICK, Job, operator, until
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy


def test_a_job_leaves_a_namespace_that_is_being_deleted(kubectl: Kubectl, tmp_path: Path) -> None:
    job = Job(kubectl, "leaving")
    with operator(kubectl, tmp_path, **QUICK):
        job.create(workers={"replicas": 1})
        job.start_pods("server", 1)
        until(lambda: job.pods("worker"), "the worker's pod exists")
        kubectl("delete", "namespace", "leaving", "--wait=false")
        until(
            lambda: not kubectl.succeeds("-n", "leaving", "get", "asgdjob", "leaving"), "the job is gone", 120
        )
