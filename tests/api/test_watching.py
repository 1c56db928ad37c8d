"""An operator is ready while it can hear of jobs, whatever comes first, and serves the next job when they are back."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd import exitcodes
from tests.api.acting import QUICK, Job, OperatorProcess, operator, until
from tests.api.conftest import CRD
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy


def deaf(process: OperatorProcess) -> bool:
    code, said = process.get("/readyz")
    return code == 503 and "AsgdJobs cannot be watched" in said


def serves(kubectl: Kubectl, name: str) -> None:
    job = Job(kubectl, name)
    until(lambda: kubectl.succeeds("get", "asgdjobs", "-A"), "the kind is served")
    job.create()
    until(lambda: job.get("statefulset", f"{name}-server"), "the job is served")


def test_an_operator_serves_jobs_though_it_starts_before_their_kind_and_says_what_it_waits_for(
    api_server: Kubectl, tmp_path: Path
) -> None:
    # Other tests of the session may have applied it.
    api_server("delete", "-f", str(CRD), "--ignore-not-found")
    with operator(api_server, tmp_path, awaited="/healthz", **QUICK) as process:
        until(lambda: deaf(process), "it says that it hears nothing")
        api_server("apply", "--server-side", "-f", str(CRD))
        until(lambda: process.get("/readyz")[0] == 200, "it is ready")
        serves(api_server, "late")


def test_an_operator_whose_kind_is_deleted_starts_anew_waits_for_it_and_serves_the_next_job(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    with operator(kubectl, tmp_path, **QUICK) as process:
        process.ends_with = exitcodes.TRY_AGAIN
        kubectl("delete", "-f", str(CRD))
        until(lambda: process.process.poll() is not None, "it ends, to begin all watches anew")
        assert "a watch has ended" in process.log.read_text(encoding="utf-8").splitlines()[-1]
    with operator(kubectl, tmp_path, awaited="/healthz", **QUICK) as process:
        until(lambda: deaf(process), "it says that it hears nothing")
        kubectl("apply", "--server-side", "-f", str(CRD))
        until(lambda: process.get("/readyz")[0] == 200, "it is ready")
        serves(kubectl, "anew")
