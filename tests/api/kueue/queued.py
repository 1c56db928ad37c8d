"""Jobs in a queue, and the queue, as the tests with a real Kueue make them."""

from __future__ import annotations

from typing import Any

from asgd.spec.status import Advice, Status
from tests.api.acting import Job, ShardZero, until
from tests.cluster.kubectl import Kubectl

VERSION = "kueue.x-k8s.io/v1beta2"
ELASTIC = "ElasticJobsViaWorkloadSlices"


class Queued(Job):
    shard: ShardZero

    def join(self, queue: str) -> None:
        """Makes the LocalQueue that the job names, of this ClusterQueue."""
        local = {"metadata": {"name": "team"}, "spec": {"clusterQueue": queue}}
        self.kubectl.apply({"apiVersion": VERSION, "kind": "LocalQueue", **local}, namespace=self.name)

    @property
    def says(self) -> str:
        return str(self.status.get("message", ""))

    @property
    def says_degraded(self) -> str:
        return str(self.condition("Degraded").get("message", ""))

    def worker_job(self) -> dict[str, Any]:
        return dict(self.get("job", f"{self.name}-worker") or {})

    @property
    def number(self) -> dict[str, Any]:
        """What autoscaling has come to."""
        return dict(self.status.get("workers", {}).get("autoscale", {}))

    def workers(self) -> set[str]:
        """UIDs of the pods of workers."""
        return {pod["metadata"]["uid"] for pod in self.pods("worker")}

    def advise(self, workers: int, measured: int) -> None:
        """Shard 0 tells from now on that so many are better than those that it has measured."""
        advice = Advice(workers, f"{workers} are better than {measured}", measured)
        self.shard.status = Status(job=self.name, phase="running", algorithm="asgd", updates=9, advice=advice)

    def ready(self, count: int) -> None:
        until(lambda: self.status.get("workers", {}).get("ready") == count, f"{count} workers of {self.name}")


def spec(**workers: Any) -> dict[str, Any]:
    requests = {"requests": {"cpu": "1", "memory": "64Mi"}}
    return {
        "scheduling": {"queueName": "team"},
        "workers": {"replicas": 2, "resources": requests} | workers,
        "parameterServer": {"shards": 1},
        "evaluation": {"everySeconds": 0},
    }


def rule(window_seconds: int = 300) -> dict[str, int]:
    return {"min": 2, "max": 8, "stabilizationWindowSeconds": window_seconds}


def size(job: Queued) -> int:
    """Workers that its Job is told to have; 0 while there is none."""
    return int(job.worker_job().get("spec", {}).get("parallelism", 0))


def make_queue(kubectl: Kubectl, name: str, cpus: int) -> None:
    quota = [{"name": "cpu", "nominalQuota": cpus}, {"name": "memory", "nominalQuota": "10Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": quota}]}
    kubectl.apply(
        {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
        {
            "apiVersion": VERSION,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [group],
                "preemption": {"withinClusterQueue": "LowerPriority"},
            },
        },
    )
