"""A real API server that knows the kind AsgdJob, for the files that load `tests.cluster.fixtures`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.acting import until
from tests.cluster.kubectl import Kubectl

CRD = Path(__file__).parents[2] / "crds" / "asgdjobs.asgd.dev.yaml"


@pytest.fixture(scope="module")
def kubectl(api_server: Kubectl) -> Kubectl:
    api_server("apply", "--server-side", "-f", str(CRD))
    until(lambda: api_server.succeeds("get", "asgdjobs", "-A"), "the kind is served")
    return api_server
