"""What `explain` answers: a verdict, one cause of a closed list, one sentence, one fix, one command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a person asks first."""

    NOT_RUNNING = "not running"
    QUEUED = "waiting in a queue"
    SUSPENDED = "suspended"
    FAILED = "failed"
    SLOW = "slow"
    DEGRADED = "degraded"
    """It trains, and something of it does not work: checkpoints, evaluations, a worker's pushes."""
    FINE = "fine"


class Kind(StrEnum):
    """The causes that `explain` tells apart. Each has a test."""

    # Nobody has looked at it.
    NO_JOB = "no-job"
    NO_KIND = "no-kind"
    OTHER_VERSION = "other-version"
    MANAGED_ELSEWHERE = "managed-elsewhere"
    JUST_APPLIED = "just-applied"
    NO_OPERATOR = "no-operator"
    OPERATOR_AWAY = "operator-away"
    # It was not accepted.
    INVALID_SPEC = "invalid-spec"
    INVALID_POD_TEMPLATE = "invalid-pod-template"
    NAME_TAKEN = "name-taken"
    NO_SOURCE = "no-source"
    # Pods are not made.
    QUOTA = "quota"
    LIMIT_RANGE = "limit-range"
    POD_SECURITY = "pod-security"
    NO_SERVICE_ACCOUNT = "no-service-account"
    NO_PRIORITY_CLASS = "no-priority-class"
    PODS_REFUSED = "pods-refused"
    # No node takes them.
    NO_CLAIM = "no-claim"
    CLAIM_UNBOUND = "claim-unbound"
    CLAIM_ELSEWHERE = "claim-elsewhere"
    SELECTOR = "selector"
    TAINT = "taint"
    CORDONED = "cordoned"
    MEMORY = "memory"
    CPU = "cpu"
    DEVICE = "device"
    PODS_FULL = "pods-full"
    UNSCHEDULABLE = "unschedulable"
    NO_SCHEDULER = "no-scheduler"
    QUEUE = "queue"
    # They do not start.
    NO_IMAGE = "no-image"
    IMAGE_ACCESS = "image-access"
    REGISTRY_AWAY = "registry-away"
    INIT_FAILED = "init-failed"
    NO_COMMAND = "no-command"
    NO_CONFIG_MAP = "no-config-map"
    NO_SECRET = "no-secret"
    CONTAINER = "container"
    NODE_LOST = "node-lost"
    # They end, or do not come to train.
    OUT_OF_MEMORY = "out-of-memory"
    CRASH = "crash"
    ENTRYPOINT = "entrypoint"
    NOT_JOINED = "not-joined"
    STARTING = "starting"
    RESTORING = "restoring"
    STALLED = "stalled"
    # It has ended.
    DEADLINE = "deadline"
    DIVERGED = "diverged"
    EVALUATION_FAILED = "evaluation-failed"
    SERVERS_SPENT = "servers-spent"
    # It trains, slowly.
    FEWER_WORKERS = "fewer-workers"
    SLOW_WORKER = "slow-worker"
    HUNG_WORKER = "hung-worker"
    WAITS_FOR_ONE = "waits-for-one"
    SERVER_BUSY = "server-busy"
    WAITS_FOR_DATA = "waits-for-data"
    EXCHANGES = "exchanges"
    STALENESS = "staleness"
    # It trains, and something does not work.
    PUSHES_REFUSED = "pushes-refused"
    WORKER_REJECTED = "worker-rejected"
    ROLLED_BACK = "rolled-back"
    EVALUATION_FAILING = "evaluation-failing"
    CHECKPOINT_FAILING = "checkpoint-failing"
    SILENT_SHARD = "silent-shard"
    OUTDATED = "outdated"
    OPERATOR = "operator"
    PODS_NOT_ENDING = "pods-not-ending"
    KEYS_LOST = "keys-lost"
    DRIFT = "drift"
    # Nothing is wrong.
    SUSPENDED = "suspended"
    SUSPENDING = "suspending"
    ENDING = "ending"
    DONE = "done"
    TRAINS = "trains"
    UNKNOWN = "unknown"
    """A reason of a newer operator: its own sentence is told."""


@dataclass(frozen=True, slots=True)
class Found:
    """One cause: `text` is a clause without a full stop that names the object, `fix` a sentence of what to do."""

    kind: Kind
    text: str
    fix: str
    command: str
    field: str = ""
    """Of the AsgdJob, below `spec`, that the fix is about; empty where it is about something else."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer."""

    verdict: Verdict
    kind: Kind
    sentence: str
    fix: str
    """Empty where nothing is to be done."""
    command: str
    field: str = ""
    also: tuple[str, ...] = ()
    """Further findings, a sentence each."""
