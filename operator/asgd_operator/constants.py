"""Every string that another program relies on: labels, annotations, paths, ports, conditions, reasons. The
variables of the trainer's containers stand in `asgd.spec.environment`.

One place, so that documentation, tests, selectors and the trainer's containers cannot drift apart. The
vocabulary of status (conditions with their closed list of reasons, phases, events) stands here; the rules
that use it are in `plan`.
"""

from __future__ import annotations

from enum import StrEnum

GROUP = "asgd.dev"
VERSION = "v1alpha1"
KIND = "AsgdJob"
PLURAL = "asgdjobs"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGER = "asgd-operator"
"""Field manager of every server-side apply, and the value of `app.kubernetes.io/managed-by`."""


class Role(StrEnum):
    """What a pod of a job is; the value of the label `asgd.dev/role`."""

    SERVER = "server"
    WORKER = "worker"
    EVALUATOR = "evaluator"


# Labels and annotations.
JOB_LABEL = f"{GROUP}/job-name"
ROLE_LABEL = f"{GROUP}/role"
SPEC_HASH = f"{GROUP}/spec-hash"
"""Annotation: the hash of the job's frozen fields. Another value on a live Job means: delete it and make it
anew."""
TOLD_FIELDS = f"{GROUP}/live-fields"
"""Annotation of shard 0's pod: the hash of the live fields that the operator has told it of last."""
RENDERED_HASH = f"{GROUP}/rendered-hash"
"""Annotation: the hash of this object as rendered. An equal value on the live object means: nothing to
apply."""
RENDERED_BY = f"{GROUP}/rendered-by"
"""Annotation: the operator's version. A running job keeps the templates of the version that started it."""
QUEUE_GROUP = "kueue.x-k8s.io"
QUEUE_LABEL = f"{QUEUE_GROUP}/queue-name"
QUEUED_UID_LABEL = f"{QUEUE_GROUP}/job-uid"
"""Label of Kueue's Workloads: the UID of the Job that each stands for."""
ELASTIC_ANNOTATION = f"{QUEUE_GROUP}/elastic-job"
"""Asks Kueue to let a Job grow and shrink while it runs."""
ELASTIC_GATE = ELASTIC_ANNOTATION
"""Scheduling gate that Kueue puts on the pods of such a Job where it does so."""
SLICE_ANNOTATION = f"{QUEUE_GROUP}/workload-slice-name"
"""Kueue's, of the pods of such a Job from its start on."""

# Containers.
CONTAINER = "asgd"
"""Name of the main container in every role: what a `podTemplate` names to change it."""
UID = 65532
EXCHANGE_PORT = 7077
EXCHANGE_PORT_NAME = "exchange"
BULK_PORT = 7078
BULK_PORT_NAME = "bulk"
METRICS_PORT_NAME = "metrics"
PAGE_PORT = 7079
PAGE_PORT_NAME = "page"
PAGE_CONTAINER = "page"
"""In the pods of servers; it serves the live page. Whether it runs says nothing of the server."""

# Files in the containers.
CONFIG_DIR = "/etc/asgd"
LIVE_DIR = "/etc/asgd-live"
JOB_FILE = "job.json"
LIVE_FILE = "live.json"
KEYS_PATH = "keys/keys.json"
SERVER_KEYS = "server.json"
CLIENT_KEYS = "client.json"
PAGE_TOKEN = "page.token"
"""Key of the Secret."""
PAGE_TOKEN_PATH = "keys/page.token"
PAGE_DIR = "/var/lib/asgd/page"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""Annotation: the container that `kubectl logs` and `exec` mean."""
DEFAULT_CHECKPOINT_DIR = "/var/lib/asgd/checkpoints"
SHARED_MEMORY_DIR = "/var/lib/asgd/shared-memory"
RECORD_DIR = "/var/lib/asgd/recording"


class Condition(StrEnum):
    """Types of `status.conditions`; all stand as Unknown on first sight."""

    ACCEPTED = "Accepted"
    SUSPENDED = "Suspended"
    SERVERS_READY = "ParameterServersReady"
    WORKERS_READY = "WorkersReady"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    CHECKPOINT_READY = "CheckpointReady"
    COMPLETE = "Complete"
    FAILED = "Failed"


KSTATUS = ("Stalled", "Reconciling")
"""Further types, for tools alone: `plan/kstatus.py`."""

UNKNOWN_REASON = "NotObserved"
"""The one reason of a condition that is Unknown, allowed for each of them."""

TROUBLES = frozenset(
    {
        "NodeLost",
        "CrashLoop",
        "ContainerError",
        "InitContainerFailed",
        "PodsRefused",
        "ImagePullError",
        "Unschedulable",
    }
)
"""Why pods do not run, as reasons of ParameterServersReady and WorkersReady."""

REASONS: dict[Condition, frozenset[str]] = {
    Condition.ACCEPTED: frozenset(
        {
            "Valid",
            "InvalidSpec",
            "InvalidPodTemplate",
            "NameTaken",
            "QuotaExceeded",
            "StorageNotFound",
            "SourceNotFound",
            "QueueNotFound",
        }
    ),
    Condition.SUSPENDED: frozenset({"SuspendedByUser", "Suspending", "Resumed", "NotSuspended"}),
    Condition.SERVERS_READY: TROUBLES
    | {"AllReady", "Starting", "Restoring", "Queued", "Suspended", "Removed"},
    Condition.WORKERS_READY: TROUBLES
    | {"EnoughReady", "BelowMinimum", "NotStarted", "Queued", "NotJoined", "Suspended", "Removed"},
    Condition.RUNNING: frozenset(
        {
            "TrainingProgressing",
            "WaitingForParameterServers",
            "WaitingForWorkers",
            "Queued",
            "Stalled",
            "Completing",
            "Suspended",
            "Finished",
        }
    ),
    Condition.DEGRADED: frozenset(
        {
            "AsExpected",
            "FewerThanDesired",
            "HighStaleness",
            "RolledBack",
            "CheckpointFailing",
            "WorkerRejected",
            "WorkerHung",
            "EvaluationFailing",
            "PushesRefused",
            "MetricsUnavailable",
            "Stalled",
            "Outdated",
            "OperatorOutdated",
            "OperatorBug",
            "ReconcileFailed",
            "StatusRefused",
            "PodsNotEnding",
            "NameTaken",
            "KeysLost",
            "Drifted",
            "DriftFought",
        }
    ),
    Condition.CHECKPOINT_READY: frozenset({"Saved", "NeverSaved", "SaveFailed"}),
    Condition.COMPLETE: frozenset({"TargetReached", "WallClockReached", "NoImprovement", "NotFinished"}),
    Condition.FAILED: frozenset(
        {
            "ParameterServerBackoffExceeded",
            "WorkerBackoffExceeded",
            "FatalExitCode",
            "DeadlineExceeded",
            "StartupDeadlineExceeded",
            "Diverged",
            "EvaluationFailed",
            "NotFailed",
        }
    ),
}
"""The closed list of reasons."""


class Phase(StrEnum):
    """`status.phase`: derived, for people and the printer column; the conditions are the contract."""

    TERMINATING = "Terminating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    COMPLETING = "Completing"
    QUEUED = "Queued"
    STARTING = "Starting"
    RECOVERING = "Recovering"
    WAITING_FOR_WORKERS = "WaitingForWorkers"
    STALLED = "Stalled"
    RUNNING = "Running"


class EventReason(StrEnum):
    """Reasons of the Events on an AsgdJob: one for each transition, none for routine."""

    ACCEPTED = "Accepted"
    INVALID = "InvalidSpec"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    SERVERS_STARTED = "ServersStarted"
    SERVERS_READY = "ServersReady"
    SERVERS_HINDERED = "ServersHindered"
    WORKERS_HINDERED = "WorkersHindered"
    SERVER_RESTARTED = "ServerRestarted"
    SERVER_FORCE_REPLACED = "ServerForceReplaced"
    WORKER_FORCE_REPLACED = "WorkerForceReplaced"
    CHECKPOINT_FAILED = "CheckpointFailed"
    SCALED_UP = "WorkersScaledUp"
    SCALED_DOWN = "WorkersScaledDown"
    WORKER_FAILED = "WorkerFailed"
    SERVER_FAILED = "ServerFailed"
    EVALUATOR_FAILED = "EvaluatorFailed"
    WORKER_REJECTED = "WorkerRejected"
    WORKER_HUNG = "WorkerHung"
    EVALUATOR_HUNG = "EvaluatorHung"
    PUSHES_REFUSED = "PushesRefused"
    EVALUATION_FAILED = "EvaluationFailed"
    CHECKPOINT_SKIPPED = "CheckpointSkipped"
    ROLLED_BACK = "RolledBack"
    DATA_CHANGED = "DataChanged"
    BELOW_MINIMUM = "WorkersBelowMinimum"
    QUEUED = "Queued"
    ADMITTED = "Admitted"
    TRAINING_STARTED = "TrainingStarted"
    TRAINING_STALLED = "TrainingStalled"
    HIGH_STALENESS = "HighStaleness"
    TARGET_REACHED = "TargetReached"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TTL_EXPIRED = "TTLExpired"
    APPLY_FAILED = "ApplyFailed"
    OPERATOR_BUG = "OperatorBug"
    OPERATOR_OUTDATED = "OperatorOutdated"
    RECONCILE_FAILED = "ReconcileFailed"
    STATUS_REFUSED = "StatusRefused"
    PODS_NOT_ENDING = "PodsNotEnding"
    DRIFT_HEALED = "DriftHealed"
    DRIFT_FOUGHT = "DriftFought"
    DRIFTED = "Drifted"
    NAME_TAKEN = "NameTaken"
    KEYS_LOST = "KeysLost"


LIVE_MANAGER = f"{MANAGER}-live"
"""Field manager of the few fields of a workload that change while it runs: its size and its suspension."""
LIVE_FIELDS = {
    "StatefulSet": frozenset({"replicas"}),
    "Job": frozenset({"parallelism", "completions", "suspend"}),
}
"""{kind: fields of its spec} that this manager applies."""
MANAGED_SELECTOR = f"app.kubernetes.io/managed-by={MANAGER}"
"""Label selector of every watch on children: what others made is never even sent to this operator."""
MANAGED_BY = f"{GROUP}/{MANAGER}"
"""`spec.managedBy` of the jobs that this operator takes care of; it keeps its hands off all others."""
