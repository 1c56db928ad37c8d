"""A real API server that knows AsgdJobs, an operator and a shard 0; a file loads `tests.cluster.fixtures` for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.acting import QUICK, OperatorProcess, ShardZero, operator, until
from tests.cluster.kubectl import Kubectl

CRD = Path(__file__).parents[2] / "crds" / "asgdjobs.asgd.dev.yaml"


def with_jobs(kubectl: Kubectl) -> Kubectl:
    """`kubectl` of an API server that knows AsgdJobs from now on."""
    kubectl("apply", "--server-side", "-f", str(CRD))
    until(lambda: kubectl.succeeds("get", "asgdjobs", "-A"), "the kind is served")
    return kubectl


@pytest.fixture(scope="module")
def kubectl(api_server: Kubectl) -> Kubectl:
    return with_jobs(api_server)


@pytest.fixture(scope="module")
def running(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with operator(kubectl, tmp_path_factory.mktemp("operator"), **QUICK) as process:
        yield process


@pytest.fixture
def shard() -> Iterator[ShardZero]:
    server = ShardZero()
    yield server
    server.close()
