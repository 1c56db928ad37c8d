"""What is known of a job when somebody asks for an explanation: documents as the API server gives them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asgd.spec.autoscaling import wanted
from asgd.spec.live import LIVE
from asgd.spec.status import Status

Document = Mapping[str, Any]
JOB_LABEL, ROLE_LABEL = "asgd.dev/job-name", "asgd.dev/role"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
BLOCKS = {"server": "parameterServer", "worker": "workers", "evaluator": "evaluation"}
"""{role of a pod: the block of the spec that sizes it}"""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is not known stays empty: an explanation is given by what there is."""

    namespace: str
    name: str
    job: Document | None
    """None: there is none of this name."""
    pods: Sequence[Document] = ()
    """Those of the job."""
    events: Sequence[Document] = ()
    """Events (core/v1) about the job, its workloads and its pods."""
    logs: Mapping[str, str] = field(default_factory=dict)
    """{pod: the last lines of its container}"""
    report: Status | None = None
    """What shard 0 says; None where it does not answer, or was not asked."""
    earlier: Status | None = None
    """The same some seconds before."""
    apart: float = 0.0
    """Seconds between the two."""
    served: bool = True
    """The cluster knows AsgdJobs at all."""

    @property
    def spec(self) -> Document:
        found: Document = (self.job or {}).get("spec", {})
        return found

    @property
    def status(self) -> Document:
        found: Document = (self.job or {}).get("status", {})
        return found

    @property
    def conditions(self) -> Mapping[str, Document]:
        return {item["type"]: item for item in self.status.get("conditions", ())}

    def holds(self, kind: str) -> bool:
        return bool(self.conditions.get(kind, {}).get("status") == "True")

    def reason(self, kind: str) -> str:
        return str(self.conditions.get(kind, {}).get("reason", ""))

    def message(self, kind: str) -> str:
        return str(self.conditions.get(kind, {}).get("message", ""))

    def at(self, path: str) -> Any:
        """What stands at `path` below `spec`; None where nothing does."""
        found: Any = self.spec
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    @property
    def workers_wanted(self) -> Any:
        """By `workers.replicas`, or by what autoscaling has set in its place."""
        return wanted(self.job or {})

    @property
    def workers_field(self) -> str:
        """The field to lower for fewer workers."""
        return "workers.autoscale.max" if self.at("workers.autoscale") else "workers.replicas"

    def kubectl(self, *words: str) -> str:
        """A command line in the job's namespace."""
        return shlex.join(("kubectl", "-n", self.namespace, *words))

    def own(self, verb: str, *words: str) -> str:
        """A command line of `kubectl asgd` about this job."""
        return shlex.join(("kubectl", "asgd", verb, self.name, "-n", self.namespace, *words))

    @property
    def edit(self) -> str:
        """How a field is changed that is frozen while the job runs."""
        steps = (self.own("suspend"), self.kubectl("edit", "asgdjob", self.name), self.own("resume"))
        return " && ".join(steps)

    @property
    def anew(self) -> str:
        """How a job that is over is started again from its file."""
        return self.kubectl("replace", "--force", "-f", f"{self.name}.yaml")

    def change(self, path: str) -> str:
        """The command to change the field at `path`: a job that is over starts anew, a live field is just edited."""
        if self.holds("Failed") or self.holds("Complete"):
            return self.anew
        parts = path.split(".")
        live = any(parts[: len(some)] == [*some] for some in LIVE)
        return self.kubectl("edit", "asgdjob", self.name) if live or self.suspended else self.edit

    @property
    def suspended(self) -> bool:
        return bool(self.at("runPolicy.suspend"))

    def log(self, pod: str, *, container: str = "") -> str:
        """The command that shows the log of a pod."""
        return self.kubectl("logs", pod, *(("-c", container) if container else ()), "--tail=50")

    def logs_of(self, role: str, number: str = "") -> str:
        """The command that shows the logs of a role, or of one worker."""
        labels = f"{JOB_LABEL}={self.name},{ROLE_LABEL}={role}"
        return self.kubectl(
            "logs", "-l", labels + (f",{INDEX_LABEL}={number}" if number else ""), "--tail=50"
        )

    def pod(self, text: str) -> Document | None:
        """The newest of the job's pods that `text` names."""
        named = [pod for pod in self.pods if _names(text, pod["metadata"]["name"])]
        return max(named, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)

    def role(self, text: str) -> str:
        """Of the pod or workload of this job that `text` names first: server | worker | evaluator; worker for none."""
        found = re.search(rf"(?<![\w-]){re.escape(self.name)}-(server|worker|evaluator)(?![a-z])", text)
        return found[1] if found else "worker"


def named(path: str) -> str:
    """A field as a sentence names it: a lone word says that it is one."""
    return path if "." in path else f"spec.{path}"


def _names(text: str, pod: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(pod)}(?![\w-])", text) is not None


def moment(text: object) -> datetime | None:
    """A time as the API writes it; None for anything else."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else None


def age(text: object, now: datetime) -> float | None:
    """Seconds since that time."""
    found = moment(text)
    return None if found is None else max(0.0, (now - found).total_seconds())
