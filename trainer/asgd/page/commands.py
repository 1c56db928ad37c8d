"""The command behind each thing on the page, to be copied: of a run on this machine, or of an AsgdJob on a cluster.

Pure, and words of a shell: whatever stands in a path or a name is quoted.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass


def words(*parts: str) -> str:
    """One command line."""
    return shlex.join(parts)


@dataclass(frozen=True, slots=True)
class Local:
    """Of `asgd run` into `folder`. `{}` stands for the number of a worker or a shard."""

    folder: str

    def told(self) -> dict[str, str]:
        """{what: command}"""
        folder = self.folder
        return {
            "status": words("asgd", "open", folder),
            "worker": words("tail", "-n", "50", f"{folder}/logs/worker-") + "{}.log",
            "shard": words("tail", "-n", "50", f"{folder}/logs/server-") + "{}.log",
            "workers": words("asgd", "worker", "--join", folder),
            "data": words("asgd", "report", folder),
            "curves": words("asgd", "report", folder),
            "events": words("tail", "-f", f"{folder}/history.jsonl"),
            "losses": words("asgd", "replay", folder),
            "checkpoints": words("asgd", "check", folder),
            "resume": words(
                "asgd", "run", f"{folder}/job.yaml", "--output", folder, "--set", "checkpoint.restore=Latest"
            ),
            "again": words(
                *("asgd", "run", f"{folder}/job.yaml", "--output", folder),
                *("--set", "checkpoint.restore=Latest", "--set", "onDivergence=Rollback"),
            ),
            "spec": words("kubectl", "apply", "-f", f"{folder}/job.yaml"),
        }


@dataclass(frozen=True, slots=True)
class Cluster:
    """Of AsgdJob `job` in `namespace`. `autoscaled`: its number of workers is set by advice."""

    namespace: str
    job: str
    autoscaled: bool = False

    def told(self) -> dict[str, str]:
        """{what: command}"""
        job, kubectl = self.job, ("kubectl", "-n", self.namespace)
        labels = f"asgd.dev/job-name={job}"
        return {
            "status": words(*kubectl, "get", "asgdjob", job, "-o", "wide"),
            "worker": words(*kubectl, "logs", "--tail=50", "-l", f"{labels},asgd.dev/role=worker")
            + ",batch.kubernetes.io/job-completion-index={}",
            "shard": words(*kubectl, "logs", "--tail=50", "-l", f"{labels},asgd.dev/role=server")
            + ",apps.kubernetes.io/pod-index={}",
            "workers": words(*kubectl, *self._sized()),
            "data": words(*kubectl, "get", "asgdjob", job, "-o", "jsonpath={.status.training}"),
            "curves": words(*kubectl, "get", "asgdjob", job, "-w"),
            "events": words(*kubectl, "events", "--for", f"asgdjob/{job}"),
            "losses": words(*kubectl, "describe", "asgdjob", job),
            "checkpoints": words(*kubectl, "get", "asgdjob", job, "-o", "jsonpath={.status.checkpoint}"),
            "resume": words(
                *kubectl, "patch", "asgdjob", job, "--type=merge", "-p", '{"spec":{"runPolicy":{"suspend":false}}}'
            ),
            "again": words(*kubectl, "describe", "asgdjob", job),
            "spec": words(*kubectl, "get", "asgdjob", job, "-o", "yaml"),
        }  # fmt: skip

    def _sized(self) -> tuple[str, ...]:
        """NB: while `workers.autoscale` is set the API server refuses another `replicas`."""
        if not self.autoscaled:
            return "scale", "asgdjob", self.job, "--replicas=8"
        bounds = '{"spec":{"workers":{"autoscale":{"max":8}}}}'
        return "patch", "asgdjob", self.job, "--type=merge", "-p", bounds
