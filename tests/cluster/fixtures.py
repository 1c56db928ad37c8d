"""Clusters for pytest: `api_server` and `cluster`, each started once a session and removed at its end.

Load them with `pytest_plugins = ["tests.cluster.fixtures"]`. $ASGD_TEST_KUBECONFIG puts a cluster of the
caller (kind, a real one) in their place. Where a cluster cannot be had the tests skip, saying why; in CI
(CI=true) they fail, because a test that CI skips protects nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import api_tier, binaries, debian, node_tier, queues
from tests.cluster.access import Cluster, unavailable
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import cache


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl of a real API server with the real controllers and scheduler, and without nodes."""
    if theirs := os.environ.get("ASGD_TEST_KUBECONFIG"):
        yield Kubectl(Path(theirs))
        return
    need(binaries.API_TIER)
    state = tmp_path_factory.mktemp("api-server") / "state"
    try:
        yield api_tier.up(state, tied=True).kubectl
    finally:
        api_tier.down(state)


@pytest.fixture(scope="session")
def api_programs() -> None:
    """For a test that starts API servers of its own: the programs are there."""
    need(binaries.API_TIER)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with two nodes that run pods; one that is up already is used and left up."""
    if theirs := os.environ.get("ASGD_TEST_KUBECONFIG"):
        yield Cluster(Kubectl(Path(theirs)), ours=False)
        return
    need(binaries.NODE_TIER)
    if os.getuid() != 0:
        unavailable("a cluster with nodes needs root")
    if packages := debian.missing_packages():
        unavailable(f"these Debian packages are missing: {' '.join(packages)}")
    # Tests stop nodes: two test runs on one machine take turns.
    with binaries.locked(cache() / "nodes-in-use", "tests with the nodes"):
        found = node_tier.is_up()
        try:
            yield Cluster(node_tier.up().kubectl, ours=True)
        finally:
            if not found:
                node_tier.down()


def need_queues(*wanted: binaries.Program | queues.Manifests) -> None:
    """Skips, in CI too, when one of these is not there: a fresh machine builds them only when it is told to."""
    if missing := [item.name for item in wanted if not item.built()]:
        pytest.skip(f"not built: {', '.join(missing)}; run `make cluster-queues`")


def need(programs: list[binaries.Program]) -> None:
    """Skips, or fails in CI, with the names of those that are not built."""
    if missing := binaries.missing(programs):
        names = ", ".join(program.name for program in missing)
        unavailable(f"not built yet: {names}; run `python3 -m tests.cluster build`")
