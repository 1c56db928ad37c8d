"""What stands in the documents of a cluster: jobs, pods and events as dicts, asked in one place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from asgd import exitcodes
from asgd.client.access import ROLE_LABEL

Document = dict[str, Any]
ROLES = ("server", "worker", "evaluator")
_INDEX_LABELS = ("batch.kubernetes.io/job-completion-index", "apps.kubernetes.io/pod-index")
_METRICS_PORT = 9090
"""As in the CRD; a document of an API server always says it."""
_OF_FAILURE = {
    "Diverged": exitcodes.DIVERGED,
    "EvaluationFailed": exitcodes.NOT_EVALUATED,
    "FatalExitCode": exitcodes.USER_ERROR,
}
"""Exit codes of `asgd run` by the reason of Failed."""
_FAILED = 1


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def namespace_of(document: Document) -> str:
    return str(document["metadata"].get("namespace", "default"))


def part(document: Document, *steps: str) -> Any:
    """What stands at a path; None where the way ends before."""
    found: Any = document
    for step in steps:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def condition(job: Document, kind: str) -> Document:
    """The condition of this type; empty while the job has none."""
    found = part(job, "status", "conditions") or ()
    return next((each for each in found if each["type"] == kind), {})


def holds(job: Document, kind: str) -> bool:
    return condition(job, kind).get("status") == "True"


def ended(job: Document) -> str:
    """`Complete` or `Failed`; empty while it goes on."""
    return next((kind for kind in ("Complete", "Failed") if holds(job, kind)), "")


def exit_code(job: Document) -> int:
    """What `asgd run` would have ended with, of a job that has ended: 0 when it is complete."""
    if not holds(job, "Failed"):
        return exitcodes.DONE
    return _OF_FAILURE.get(str(condition(job, "Failed").get("reason")), _FAILED)


def refused(job: Document) -> str:
    """Why a job is not accepted as it stands, so that no time will help; empty where it is, or may yet be."""
    accepted = condition(job, "Accepted")
    lasting = accepted.get("reason") in ("InvalidSpec", "InvalidPodTemplate")
    return str(accepted.get("message", "")) if lasting and accepted.get("status") == "False" else ""


def suspended(job: Document) -> bool:
    """It is asked to have no pods."""
    return bool(part(job, "spec", "runPolicy", "suspend"))


def keeps_checkpoints(job: Document) -> bool:
    """They outlive its pods: on a claim or in a bucket."""
    volume = part(job, "spec", "checkpoint", "volume") or {}
    return bool(part(job, "spec", "checkpoint", "uri")) and "emptyDir" not in volume


def metrics_port(job: Document) -> int:
    return int(part(job, "spec", "metrics", "port") or _METRICS_PORT)


def shard_pod(job: Document, shard: int = 0) -> str:
    """Name of the pod of a parameter server."""
    return f"{name_of(job)}-server-{shard}"


# -- pods ------------------------------------------------------------------------------------------


def role_of(pod: Document) -> str:
    return str(part(pod, "metadata", "labels", ROLE_LABEL) or "")


def index_of(pod: Document) -> int:
    """Number of the shard or the worker; 0 of an evaluator."""
    labels = part(pod, "metadata", "labels") or {}
    found = next((labels[label] for label in _INDEX_LABELS if label in labels), "0")
    return int(found) if str(found).isdigit() else 0


def label_of(pod: Document) -> str:
    """`worker 3`, as people call it."""
    role = role_of(pod)
    return role if role == "evaluator" else f"{role} {index_of(pod)}"


def main_container(pod: Document) -> Document:
    """Its status; empty before the kubelet has seen it."""
    found = part(pod, "status", "containerStatuses") or ()
    return next((each for each in found if each["name"] == "asgd"), {})


def restarts_of(pod: Document) -> int:
    return int(main_container(pod).get("restartCount", 0))


def is_ready(pod: Document) -> bool:
    found = part(pod, "status", "conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found)


def state_of(pod: Document) -> str:
    """One word, as kubectl's STATUS column: Running, Pending, Terminating, CrashLoopBackOff, OOMKilled, ..."""
    if part(pod, "metadata", "deletionTimestamp"):
        return "Terminating"
    state = main_container(pod).get("state") or {}
    phase = str(part(pod, "status", "phase") or "Unknown")
    waiting, over = state.get("waiting") or {}, state.get("terminated") or {}
    word = waiting.get("reason") or (over.get("reason") if phase != "Succeeded" else "")
    return str(word or part(pod, "status", "reason") or ("Completed" if phase == "Succeeded" else phase))


def in_order(pods: Iterable[Document]) -> list[Document]:
    """Servers, workers, evaluator, each by number; a newer start of one after the older."""

    def place(pod: Document) -> tuple[int, int, str]:
        role = role_of(pod)
        rank = ROLES.index(role) if role in ROLES else len(ROLES)
        return rank, index_of(pod), str(part(pod, "metadata", "creationTimestamp") or "")

    return sorted(pods, key=place)


# -- times -----------------------------------------------------------------------------------------


def moment(text: Any) -> datetime | None:
    """Of what Kubernetes writes, None for nothing."""
    if not text:
        return None
    found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_since(text: Any, now: datetime) -> float | None:
    found = moment(text)
    return None if found is None else (now - found).total_seconds()
