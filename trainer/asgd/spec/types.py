"""An `AsgdJob` as typed, immutable values: one struct for each object of the CRD, names in snake_case.

The CRD (`crds/asgdjobs.asgd.dev.yaml`) is the only definition of fields, defaults and limits. These structs
are what a checked and defaulted document becomes; a test holds both against each other. Nothing here
validates: see `check.py`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field
from msgspec.structs import force_setattr

from asgd.spec.optimizers import defaults

BY_NAME: Any = None
"""A default that depends on the optimizer's name; no struct keeps it."""


class Spec(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """Base of the spec's structs: camelCase in YAML, snake_case in Python, no field that the CRD lacks."""


class Schedule(Spec, frozen=True):
    """How the learning rate moves with the job-wide count of samples (algorithms.md section 11)."""

    name: str = "constant"
    unit: str = "epochs"
    warmup: float = 0.0
    length: float = 0.0
    every: float = 0.0
    gamma: float = 0.1
    final: float = 0.0


class Group(Spec, frozen=True):
    """Parameters with hyper-parameters of their own; what is None is the optimizer's (`algorithms/hyper.py`)."""

    match: str | tuple[str, ...]
    learning_rate: float | str | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    epsilon: float | None = None
    alpha: float | None = None
    rho: float | None = None
    centered: bool | None = None
    ns_steps: int | None = None
    adjust_lr_fn: str | None = None


class Optimizer(Spec, frozen=True):
    """Runs on the server in gradient mode, in the worker otherwise."""

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = BY_NAME
    nesterov: bool = BY_NAME
    weight_decay: float = BY_NAME
    betas: tuple[float, float] = BY_NAME
    epsilon: float = BY_NAME
    alpha: float = BY_NAME
    rho: float = BY_NAME
    centered: bool = BY_NAME
    ns_steps: int = BY_NAME
    adjust_lr_fn: str = BY_NAME
    schedule: Schedule = field(default_factory=Schedule)
    clip_norm: float | None = None
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        for name, value in defaults(self.name).items():
            if getattr(self, name) is None:
                force_setattr(self, name, value)


class OuterOptimizer(Optimizer, frozen=True):
    """Runs on the server over pushed deltas; 1 adds a delta as it is."""

    learning_rate: float = 1.0


class WarmStart(Spec, frozen=True):
    samples: int = 0


class Staleness(Spec, frozen=True):
    max: int | None = None
    policy: str = "Refuse"


class Claim(Spec, frozen=True):
    """A PersistentVolumeClaim by its name."""

    pvc: str


class Exchange(Spec, frozen=True):
    fetch_every: int = 1
    push_every: int = 1
    ahead: int = 0
    lane: str = "auto"
    read_in_place: bool = False
    shared_memory: Claim | None = None
    overlap: bool = True
    warm_start: WarmStart = field(default_factory=WarmStart)
    staleness: Staleness = field(default_factory=Staleness)


class Codec(Spec, frozen=True):
    push: str = "fp32"
    pull: str = "fp32"
    block_size: int = 256
    top_ratio: float = 0.01
    pull_top_ratio: float = 0.1


class Metric(Spec, frozen=True):
    name: str
    at_least: float | None = None
    at_most: float | None = None


class PatienceRule(Spec, frozen=True):
    """So many evaluations without improvement end the job."""

    metric: str
    mode: str
    evaluations: int
    min_delta: float = 0.0


class StopAfter(Spec, frozen=True):
    epochs: float | None = None
    updates: int | None = None
    samples: int | None = None
    seconds: float | None = None
    metric: Metric | None = None
    patience: PatienceRule | None = None

    @property
    def only_evaluated(self) -> bool:
        """Nothing but what evaluations say could end the job."""
        evaluated = self.metric is not None or self.patience is not None
        return evaluated and (self.epochs, self.updates, self.samples, self.seconds) == (None,) * 4


class DivergenceRule(Spec, frozen=True):
    """When a rising loss ends the job; without a factor never."""

    factor: float | None = None
    pushes: int = 200


class RollbackRule(Spec, frozen=True):
    """How often a job that diverged goes back to its newest checkpoint, and what its learning rate becomes by it."""

    limit: int = 3
    rate_factor: float = 0.5


class OutlierRule(Spec, frozen=True):
    """Which pushes are too large to be true; factor 0: none."""

    factor: float = 1e6
    least: float = 1e6
    after: int = 20


class Devices(Spec, frozen=True):
    count: int = 0
    resource_name: str = "nvidia.com/gpu"


class Rhythm(Spec, frozen=True):
    """How often: what is given counts each by itself, and the first that falls due is it."""

    every_seconds: float | None = None
    every_updates: int | None = None
    every_epochs: float | None = None

    @property
    def counted(self) -> bool:
        """By updates or epochs, perhaps beside seconds."""
        return self.every_updates is not None or self.every_epochs is not None

    def seconds_or(self, usual: float) -> float:
        """Seconds from one to the next; 0: not by time. `usual`: where nothing at all is given."""
        if self.every_seconds is not None:
            return self.every_seconds
        return 0.0 if self.counted else usual


class Evaluation(Rhythm, frozen=True):
    ema: float | None = None
    devices: Devices = field(default_factory=Devices)

    @property
    def seconds(self) -> float:
        """From one evaluation to the next; 0: not by time."""
        return self.seconds_or(10.0)


class TensorBoard(Spec, frozen=True):
    dir: str = ""


class MLflow(Spec, frozen=True):
    tracking_uri: str = ""
    experiment: str = ""
    run_name: str = ""


class WandB(Spec, frozen=True):
    project: str = ""
    mode: str = ""


class Logger(Spec, frozen=True):
    """Exactly one of its fields is there."""

    tensorboard: TensorBoard | None = None
    mlflow: MLflow | None = None
    wandb: WandB | None = None


class ExitCodes(Spec, frozen=True):
    fatal: tuple[int, ...] = (2, 78)


class ParameterServer(Spec, frozen=True):
    shards: int = 1
    resources: dict[str, Any] = {}
    priority_class_name: str = ""
    backoff_limit: int = 10
    node_loss_timeout_seconds: int = 60
    pod_template: dict[str, Any] = {}


class Autoscale(Spec, frozen=True):
    """Bounds of the number of workers that is set by advice (`autoscaling.py`)."""

    min: int
    max: int
    stabilization_window_seconds: int = 300


class Workers(Spec, frozen=True):
    replicas: int = 4
    min_replicas: int = 1
    max_replicas: int = 64
    autoscale: Autoscale | None = None
    devices: Devices = field(default_factory=Devices)
    stages: int | None = None
    threads: int | None = None
    resources: dict[str, Any] = {}
    backoff_limit_per_index: int = 6
    exit_codes: ExitCodes = field(default_factory=ExitCodes)
    drain_seconds: float = 30
    progress_deadline_seconds: float | None = None
    node_loss_timeout_seconds: int = 60
    pod_template: dict[str, Any] = {}


class Volume(Spec, frozen=True):
    pvc: str | None = None
    empty_dir: dict[str, Any] | None = None


AVERAGE_PREFIX = "ema."
"""Of the metrics of the moving average (`evaluation.ema`)."""


class BestRule(Spec, frozen=True):
    """Which evaluation is the best one, whose weights are kept."""

    metric: str
    mode: str


class Checkpoint(Rhythm, frozen=True):
    uri: str = ""
    volume: Volume | None = None
    keep: int = 3
    best: BestRule | None = None
    restore: str = "Latest"

    @property
    def seconds(self) -> float:
        """From one checkpoint to the next; 0: not by time."""
        return self.seconds_or(60.0)


class RunPolicy(Spec, frozen=True):
    suspend: bool = False
    clean_pod_policy: str = "Running"
    ttl_seconds_after_finished: int | None = None
    active_deadline_seconds: int | None = None
    startup_deadline_seconds: int = 1800
    progress_deadline_seconds: int = 600


class Gang(Spec, frozen=True):
    """The least workers find nodes together or not at all."""

    provider: str = "coscheduling"
    timeout_seconds: int = 300


class Scheduling(Spec, frozen=True):
    queue_name: str = ""
    scheduler_name: str = ""
    gang: Gang | None = None


class Network(Spec, frozen=True):
    encryption: str = "Sealed"
    policy: str = "Enabled"


class Metrics(Spec, frozen=True):
    port: int = 9090


class Page(Spec, frozen=True):
    enabled: bool = True


class Byzantine(Spec, frozen=True):
    """Workers that lie (`algorithms/attacks.py`)."""

    attack: str
    workers: tuple[int, ...]
    delay: int = 100
    largest_label: int = 9


class Chaos(Spec, frozen=True):
    byzantine: tuple[Byzantine, ...] = ()


class SourceFrom(Spec, frozen=True):
    config_map: str


class JobSpec(Spec, frozen=True):
    entrypoint: str
    source: dict[str, str] = {}
    source_from: SourceFrom | None = None
    args: dict[str, Any] = {}
    image: str = ""
    algorithm: dict[str, Any] = field(
        default_factory=lambda: {"name": "asgd", "mode": "auto", "deltaScale": "sum"}
    )
    optimizer: Optimizer = field(default_factory=Optimizer)
    outer_optimizer: OuterOptimizer | None = None
    batch_size: int = 32
    seed: int = 0
    exchange: Exchange = field(default_factory=Exchange)
    codec: Codec = field(default_factory=Codec)
    buffers: str = "local"
    stop_after: StopAfter = field(default_factory=lambda: StopAfter(epochs=20))
    divergence: DivergenceRule = field(default_factory=DivergenceRule)
    on_divergence: str = "Fail"
    rollback: RollbackRule = field(default_factory=RollbackRule)
    outliers: OutlierRule = field(default_factory=OutlierRule)
    evaluation: Evaluation = field(default_factory=Evaluation)
    logging: tuple[Logger, ...] = ()
    parameter_server: ParameterServer = field(default_factory=ParameterServer)
    workers: Workers = field(default_factory=Workers)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    run_policy: RunPolicy = field(default_factory=RunPolicy)
    scheduling: Scheduling = field(default_factory=Scheduling)
    network: Network = field(default_factory=Network)
    metrics: Metrics = field(default_factory=Metrics)
    page: Page | None = None
    """None: as the installation has it."""
    record: Claim | None = None
    """Where pods write down what `asgd replay` reads; `asgd run` always does, in its output."""
    chaos: Chaos = field(default_factory=Chaos)
    managed_by: str = "asgd.dev/asgd-operator"


class Job(Struct, frozen=True):
    """A checked job: its name, its typed spec, the defaulted document and the fields that the user gave."""

    name: str
    namespace: str
    spec: JobSpec
    document: dict[str, Any]
    given: frozenset[str]
    """Dotted paths below `spec` that stood in the file or in `--set`, as `checkpoint.restore`."""
    files: dict[str, str] = {}
    """Of `spec.sourceFrom`, when they have been put into `source`."""
    hints: tuple[str, ...] = ()
    """Numbers of the user's file, or of `--set`, that hardly mean what was written."""
