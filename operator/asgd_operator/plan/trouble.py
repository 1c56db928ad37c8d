"""Why a pod does not run, in one sentence for its job: what the scheduler, the kubelet and the container itself say.

Their words are quoted, bounded by the view. What moves with each try (back-off times) is left out, or every pass would
write.
"""

from __future__ import annotations

from asgd_operator.constants import Role
from asgd_operator.plan import times
from asgd_operator.plan.model import Child, Init, Observed, Pod

IMAGE_ERRORS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONFIG_ERRORS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
OUT_OF_MEMORY = "OOMKilled"

ASK_SECONDS = 10.0
"""A pod whose container is being created for so long may wait for a volume; also how often it is asked again."""
CREATING = frozenset({"ContainerCreating", "PodInitializing"})
PUZZLES_MOST = 4
"""So many events are asked for in a pass: one of each kind of trouble explains the rest."""

Found = tuple[str, str] | None
"""(reason, sentence)"""


def trouble(o: Observed, pods: tuple[Pod, ...]) -> Found:
    """Of the first pod that cannot go on by itself."""
    return next((found for pod in pods if (found := _of_pod(o, pod))), None)


def puzzling(o: Observed) -> list[tuple[str, str]]:
    """(UID, name) of what does not come about though its own state does not say why: the events about it may.

    Pods that a controller is not allowed to make (quota, limits, pod security, a service account or priority class that
    is not there), and pods that wait for a volume.
    """
    if o.spec is None or o.finished or o.deleting or o.spec.run_policy.suspend or o.problem is not None:
        return []
    # NB: in its first seconds every job is short of pods; nobody is asked about that.
    began = times.read(o.status.get("startTime"))
    due = began is not None and (o.now - began).total_seconds() >= ASK_SECONDS
    found = [(pod.uid, pod.name) for pod in o.pods if _creating_for_long(o, pod)]
    return [*(_unmade(o) if due else ()), *found][:PUZZLES_MOST]


def short(o: Observed) -> bool:
    """Whether pods should long have been made by a controller that has not made them."""
    return any(uid in {child.uid for child in (o.servers, o.workers) if child} for uid, _ in puzzling(o))


def look_again(o: Observed) -> float | None:
    """Seconds until somebody may have complained."""
    if o.spec is None or o.deleting or o.spec.run_policy.suspend or o.problem is not None:
        return None
    return ASK_SECONDS if _unmade(o) or any(pod.waiting in CREATING for pod in o.pods) else None


def unmade(o: Observed, child: Child | None) -> Found:
    """Why the pods of a workload are not made, if somebody has complained."""
    said = o.complaints.get(child.uid, "") if child is not None else ""
    return ("PodsRefused", f"Pods of {child.name} cannot be made{_because(said)}") if child and said else None


def _unmade(o: Observed) -> list[tuple[str, str]]:
    """Workloads that have fewer pods than they are to have."""
    short: list[Child] = []
    servers, workers = o.servers, o.workers
    if servers is not None and len(o.pods_of(Role.SERVER)) < servers.replicas:
        short.append(servers)
    if workers is not None and not o.enough_workers and not (workers.suspended or workers.finished):
        made = workers.active + workers.succeeded + workers.failed_indexes
        short += [workers] if made < workers.parallelism else []
    return [(child.uid, child.name) for child in short if not child.deleting]


def _creating_for_long(o: Observed, pod: Pod) -> bool:
    return pod.waiting in CREATING and _age(o, pod) >= ASK_SECONDS


def _age(o: Observed, pod: Pod) -> float:
    return (o.now - pod.created).total_seconds() if pod.created else 0.0


def crashing(o: Observed) -> Found:
    """Of a worker's pod that has ended badly and is replaced."""
    ended = [
        pod for pod in o.pods_of(Role.WORKER) if pod.phase == "Failed" and not pod.disrupted and pod.exit_code
    ]
    return ("CrashLoop", end(ended[0])) if ended else None


def end(pod: Pod, again: bool = False) -> str:
    """How the pod's container ended last; `again`: it does so each time."""
    repeated = " again and again" if again else ""
    if pod.ended == OUT_OF_MEMORY:
        field = "parameterServer" if pod.role == Role.SERVER else "workers"
        return (
            f"{pod.name} was killed{repeated} for it used more memory than its limit (OOMKilled); raise"
            f" {field}.resources.limits.memory."
        )
    verb = "ends" if again else "ended"
    return f"{pod.name} {verb} with exit code {pod.exit_code}{repeated}{_quoted(pod.last_words)}"


def _of_pod(o: Observed, pod: Pod) -> Found:
    if _node_lost(o, pod):
        return "NodeLost", f"{pod.name} is on {pod.node}, which does not answer."
    if pod.unschedulable:
        said = (
            f": {pod.unscheduled.rstrip('.')}" if pod.unscheduled else ", and the scheduler does not say why"
        )
        return "Unschedulable", f"No node takes {pod.name}{said}."
    if pod.init is not None:
        return _of_init(pod, pod.init)
    if pod.waiting in IMAGE_ERRORS:
        return (
            "ImagePullError",
            f"The image of {pod.name} cannot be pulled{_because(pod.waits_for or pod.waiting)}",
        )
    if pod.waiting in CONFIG_ERRORS:
        return (
            "ContainerError",
            f"The container of {pod.name} cannot be started{_because(pod.waits_for or pod.waiting)}",
        )
    if pod.waiting == "CrashLoopBackOff":
        return "CrashLoop", end(pod, again=True)
    if said := o.complaints.get(pod.uid, ""):
        return "ContainerError", f"{pod.name} cannot be started{_because(said)}"
    return None


def _of_init(pod: Pod, init: Init) -> Found:
    who = f"init container {init.name} of {pod.name}"
    if init.waiting in IMAGE_ERRORS:
        return (
            "ImagePullError",
            f"The image of {who} cannot be pulled{_because(init.waits_for or init.waiting)}",
        )
    if init.exit_code is None:
        return (
            "ContainerError",
            f"{who[0].upper()}{who[1:]} cannot be started{_because(init.waits_for or init.waiting)}",
        )
    said = f"{who[0].upper()}{who[1:]} ended with exit code {init.exit_code}{_quoted(init.last_words)}"
    return "InitContainerFailed", said


def _because(said: str) -> str:
    return f": {said.rstrip('.')}."


def _quoted(words: str) -> str:
    return f": {words.rstrip('.')}." if words else "; see its log."


def _node_lost(o: Observed, pod: Pod) -> bool:
    node = (o.nodes or {}).get(pod.node)
    return node is not None and not node.ready and not pod.over
