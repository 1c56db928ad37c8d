"""A real Kueue on an API server of its own: its webhooks would hold up the objects of other tests when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.api.acting import ShardZero
from tests.api.conftest import with_jobs
from tests.api.kubelet import Kubelet
from tests.api.kueue.queued import ELASTIC, Queued, spec
from tests.cluster import api_tier, binaries, fixtures
from tests.cluster.kubectl import Kubectl
from tests.cluster.kueue import install, kueue
from tests.cluster.queues import KUEUE, KUEUE_MANIFESTS


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    fixtures.need_queues(KUEUE, KUEUE_MANIFESTS)
    fixtures.need(binaries.API_TIER)
    state = tmp_path_factory.mktemp("kueue-api-server") / "state"
    try:
        yield api_tier.up(state, tied=True).kubectl
    finally:
        api_tier.down(state)


@pytest.fixture(scope="session")
def kubectl(api_server: Kubectl) -> Kubectl:
    return with_jobs(api_server)


@pytest.fixture(scope="session")
def port(kubectl: Kubectl) -> int:
    found = install(kubectl)
    high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    kubectl.apply(high | {"metadata": {"name": "urgent"}})
    return found


class Controllers:
    """Kueue's controller: one at a time."""

    def __init__(self, kubectl: Kubectl, port: int, folder: Path) -> None:
        self._kubectl, self._port, self._folder = kubectl, port, folder
        self._running, self._gates, self._count = ExitStack(), ("none yet",), 0

    def run(self, *gates: str) -> None:
        if gates != self._gates:
            self.close()
            self._count += 1
            folder = self._folder / str(self._count)
            self._running.enter_context(kueue(self._kubectl, self._port, folder, *gates))
            self._gates = gates

    def close(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def controllers(
    kubectl: Kubectl, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controllers]:
    found = Controllers(kubectl, port, tmp_path_factory.mktemp("kueue"))
    yield found
    found.close()


@pytest.fixture
def elastic(controllers: Controllers) -> None:
    """Kueue that lets jobs grow in place."""
    controllers.run(ELASTIC)


@pytest.fixture
def plain(controllers: Controllers) -> None:
    """Kueue with the gates that it has by itself."""
    controllers.run()


@pytest.fixture
def pods_run(kubectl: Kubectl) -> Iterator[None]:
    played = Kubelet(kubectl.kubeconfig)
    yield
    played.close()


@pytest.fixture
def jobs(kubectl: Kubectl) -> Iterator[Any]:
    """Makes a job of two workers with a CPU each, in its own namespace and the queue `team` of ClusterQueue `queue`."""
    with ExitStack() as shards:

        def make(name: str, queue: str, **workers: Any) -> Queued:
            shard = ShardZero()
            shards.callback(shard.close)
            job = Queued(kubectl, name, metrics_port=shard.port)
            job.shard = shard
            kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            job.join(queue)
            job.apply(**spec(**workers))
            return job

        yield make
