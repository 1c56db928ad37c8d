"""A job that failed is mended and applied again under its name, the everyday way of working: it trains, each time."""

from __future__ import annotations

import json
import os

import pytest

from tests.e2e.jobs import digits, paced, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(1800)
TIMES = int(os.environ.get("ASGD_E2E_TIMES", "2"))
"""By each of the two ways; 10 makes the twenty of an acceptance, and a quarter of an hour."""
BROKEN = "import sys\ndef task():\n    print('cannot read the licence', flush=True)\n    sys.exit(2)\n"


@pytest.mark.parametrize("way", ["replace", "delete-and-apply"])
def test_a_mended_job_is_never_judged_by_the_pods_of_the_former_one(release: Release, way: str) -> None:
    job = release.job("again", f"again-{way}")
    small = {"parameterServer": {"shards": 1}, "workers": {"replicas": 2}}
    broken = digits(**small, source={"bad.py": BROKEN}, entrypoint="bad:task", args={})
    mended = paced(epochs=1000)
    for each in range(TIMES):
        job.apply(broken)
        until(lambda: job.condition("Failed").get("status") == "True", f"the broken one failed, time {each}")
        mended["metadata"]["name"] = job.name
        if way == "replace":
            job.run("replace", "--force", "-f", "-", stdin=json.dumps(mended))
        else:
            job.run("delete", "asgdjob", job.name)
            job.apply(mended)
        until(lambda: job.condition("Running").get("status") == "True", f"the mended one runs, time {each}")
        status = job.status
        assert job.condition("Failed").get("status") == "False", status
        assert (status["workers"]["failed"], status["workers"]["restarts"]) == (0, 0), status
        job.run("delete", "asgdjob", job.name)
    job.run("delete", "namespace", job.namespace, "--wait=false")
