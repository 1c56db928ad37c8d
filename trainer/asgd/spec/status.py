"""What shard 0 tells about a job at one moment: the one source of the display, history, summary and the
operator's status.

The coordinator builds a `Status`; `/status` serves it as JSON (camelCase), `asgd run` shows it and writes it down.
Nothing is computed twice: a consumer that needs another figure adds a field here. Each field is declared and described
once: summary and history take equally named fields from the status, docs/reference/status.md is made from this file.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from asgd.spec.durations import Spread
from asgd.spec.types import StopAfter

STOPPED_FOR_NOW = frozenset({"", "interrupted", "suspended"})
"""Stop reasons after which a job goes on when its servers are started again."""
DIVERGED, UNEVALUATED = "diverged", "unevaluated"
"""Stop reasons of jobs that have failed; all others are of jobs that are done."""


class StalenessView(Struct, rename="camel", frozen=True):
    """Staleness of accepted pushes in updates (shard version at apply - version computed from), over all shards."""

    mean: float = 0.0
    """Over accepted pushes."""
    p50: int = 0
    """Median."""
    p99: int = 0
    """99th percentile."""
    max: int = 0
    """The stalest push that was accepted."""


class WorkerTimes(Struct, rename="camel", frozen=True):
    """Of one worker's life: its own part of each step, and its exchanges with the servers."""

    own: Spread = Spread()
    """Of its own part of each step."""
    exchange: Spread = Spread()
    """Of its exchanges with the servers."""


class PhasesView(Struct, rename="camel", frozen=True):
    """What one worker has done in the newest quarters of a second (`spec/phases.py`)."""

    number: int = 0
    """So many quarters of a second have passed since it started."""
    seconds_ago: float = 0.0
    """Since the newest of them ended."""
    letters: str = ""
    """One for each of the newest, the last one last: the shares of computing, reading data, pushing and waiting."""


class ShardView(Struct, rename="camel", frozen=True):
    """One parameter server shard, as it reports of itself."""

    version: int = 0
    """Updates applied to it."""
    term: int = 0
    """How often it was started; 0 for one that has not been heard of yet."""
    ready: bool = True
    """It has weights."""
    sent: int = 0
    """Payload bytes since it started."""
    received: int = 0
    """Payload bytes since it started."""
    requests: int = 0
    """Chunks of pushes and pulls that it served since it started."""
    busy_seconds: float = 0.0
    """What they took together."""
    held_back: int = 0
    """Pulls that wait here for other workers."""
    lost: int = 0
    """Acknowledged updates that its restarts have lost."""


class DataView(Struct, rename="camel", frozen=True):
    """What becomes of a map-style dataset, in samples."""

    size: int = 0
    """Of one epoch."""
    visited: int = 0
    """In accepted pushes, over all epochs."""
    leased: int = 0
    """Out with workers: not pushed yet."""
    returned: int = 0
    """Of workers that were lost, or of refused pushes: to be leased again."""
    revisited: int = 0
    """Visited twice in an epoch, because the server that had counted them was lost."""
    skipped: int = 0
    """Given up after two tries: what they gave was not finite."""


class ServingView(Struct, rename="camel", frozen=True):
    """What shard 0 spent on pushes and pulls since it started."""

    requests: int = 0
    """Messages that it served."""
    seconds: float = 0.0
    """What they took together."""


class Notice(Struct, rename="camel", frozen=True):
    """What a person should know of: given up after a wait, refused, failed, or changed since an earlier start."""

    number: int
    """Grows by one with each notice of the job: who has told number n tells those above it."""
    text: str
    """What happened, in one sentence without a full stop."""
    about: Literal["worker", "evaluator", "pushes", "evaluation", "data", "checkpoint", "rollback"] = "worker"
    """A worker or the evaluator was waited for, pushes are refused, an evaluation failed, data have changed, a
    checkpoint was passed over as damaged, or the job has gone back to one because it diverged."""


class WorkerView(Struct, rename="camel", frozen=True):
    """One worker that is or was a member. Times are seconds since the job's start on this server."""

    index: int
    """Number of the worker; another start of it keeps the number."""
    state: str
    """running | stalled (a member that makes no progress) | left (said goodbye) | lost (heartbeats stopped or the
    process died) | hung (given up: it made no progress although its heartbeats went on)."""
    joined: float
    """When it said hello."""
    ended: float | None = None
    """When it left or was lost; null while it runs."""
    incarnation: int = 0
    """Which start of this index it is; grows."""
    samples: int = 0
    """In its accepted pushes."""
    samples_per_second: float = 0.0
    """Over its life."""
    loss: float | None = None
    """Its recent mean training loss."""
    refused: int = 0
    """Its batches whose loss or gradient was not finite."""
    node: str = ""
    """Name of its machine."""
    times: WorkerTimes = WorkerTimes()
    """How long its steps and exchanges took."""
    samples_held: int = 0
    """Leased to it and not pushed yet."""
    idle_seconds: float = 0.0
    """Without progress although it owes some; 0 for who waits for others, for data or for a server."""
    waits: str = ""
    """others (its pull is held back) | data (nothing to lease for it now); empty while it works."""
    phases: PhasesView = PhasesView()
    """What it does, in quarters of a second."""
    lane: str = ""
    """What its gradients and weights go over: shm | tcp | zeromq, as a word for all shards together."""
    pushes: int = 0
    """Its accepted pushes, as far as this start of shard 0 has counted them."""
    staleness_total: int = 0
    """Sum of their staleness on shard 0."""

    @property
    def alive(self) -> bool:
        """It is a member now."""
        return self.state in ("running", "stalled")


class CheckpointView(Struct, rename="camel", frozen=True):
    """The newest complete checkpoint of the job."""

    updates: int = 0
    """That it holds."""
    uri: str = ""
    """Where it lies."""
    seconds_ago: float = 0.0
    """Since it was complete."""
    bytes: int = 0
    """Its size."""


class BestView(Struct, rename="camel", frozen=True):
    """The best evaluation so far, whose weights are kept (`checkpoint.best`)."""

    metric: str = ""
    """Name of the metric."""
    value: float = 0.0
    """Its best value."""
    updates: int = 0
    """The update count of the weights that were evaluated."""
    samples: int = 0
    """The samples of these weights."""
    uri: str = ""
    """Their model file in the checkpoint store."""


class Advice(Struct, rename="camel", frozen=True):
    """How many workers help, by what was measured of those that are there."""

    workers: int
    """So many learn as fast as any more would."""
    text: str
    """Why, and what would change it, in one sentence without a full stop."""
    measured: int = 0
    """How many workers there were when this was measured; 0: a server of an older version does not tell."""


class Totals(Struct, rename="camel", frozen=True, kw_only=True):
    """What a status and the summary of a run have in common. Totals count from the job's first start, restarts of
    servers and resumed runs included. A field that stands here stands in `/status` and in `summary.json`."""

    job: str = ""
    """Name of the job."""
    algorithm: str
    """Name of its strategy."""
    updates: int = 0
    """Pushes that shard 0 accepted."""
    samples: int = 0
    """Samples in accepted pushes."""
    epochs: float = 0.0
    """Passes over the data; 0 for streams, which have no size."""
    seconds: float = 0.0
    """From the first accepted push on, without the time between runs."""
    bytes_sent: int = 0
    """Payload that servers sent; counted anew by a server that restarts."""
    bytes_received: int = 0
    """Payload that servers took in; counted anew by a server that restarts."""
    bytes_saved: int = 0
    """What codecs saved of the payload bytes that fp32 would have taken, both ways."""
    loss: float | None = None
    """Recent mean training loss."""
    scalars: dict[str, float | None] = {}
    """{name: recent mean} of what `Task.loss` returns beside the loss, where it returns a dict."""
    metrics: dict[str, float | None] = {}
    """{name: value} of the newest evaluation, null when it is not finite."""
    metrics_at_updates: int = 0
    """The update count of the weights that `metrics` were measured on."""
    best: BestView | None = None
    """The best evaluation, with `checkpoint.best`; null before the first one."""
    evaluations_failed: int = 0
    """Evaluations that raised, or gave no numbers."""
    evaluation_error: str = ""
    """Why the newest evaluation failed, in a sentence without a full stop; empty when it did not, or none was made."""
    staleness: StalenessView = field(default_factory=StalenessView)
    """Of accepted pushes, all shards together."""
    refused: dict[str, int] = {}
    """{reason: pushes}: stale, nonfinite, outlier, rollback, and what strategies add."""
    strategy_figures: dict[str, float] = {}
    """{name: figure} that the strategy tells of itself. safeguard: `gradientLength`, the running length of gradients;
    in units that follow it `shortFloor`, `shortScore` (the median worker's now), `shortLimit` (who is further from the
    median is rejected) and `largestShort` (of the run), the same for the long window; `calibrationRoundsLeft`. Of a
    script with several models the updates of each, as `generatorUpdates`."""
    versions: list[int] = []
    """Of each shard: updates applied to it."""
    restarts: dict[str, int] = {}
    """{role: restarts}"""
    lost_updates: int = 0
    """Acknowledged updates that went with a lost server, all shards together."""
    revisited_samples: int = 0
    """Samples visited again in the same epoch, because the server that had counted them was lost."""
    checkpoint: CheckpointView | None = None
    """The newest complete checkpoint."""
    stop_reason: str = ""
    """epochs | updates | samples | seconds | metric | patience | diverged | interrupted | suspended | stopped |
    ended (every worker's own loop did) | unevaluated (only a metric could end it, and that fails), or empty."""
    stop_detail: str = ""
    """What led to it, in a sentence without a full stop; empty where the reason says it all."""
    diverged_by: list[int] = []
    """Workers whose pushes ended the job as diverged, the first one first."""
    rollbacks: int = 0
    """How often the job diverged and has gone back to a checkpoint (`onDivergence: Rollback`)."""
    rollback_detail: str = ""
    """Why it did so last, whose pushes it were, and where it goes on from, in a sentence without a full stop."""
    diverged_at: int = 0
    """The update at which it had diverged before it went back last."""
    rate_factor: float = 1.0
    """What rollbacks have left of `optimizer.learningRate`, as a factor."""
    suspects: list[int] = []
    """Workers whose pushes were refused: out of all bounds, or not finite several times; the 256 lowest."""
    optimizer: str = ""
    """The optimizer that a script has handed to `asgd.connect(model, optimizer)`, and where it is run; else empty."""
    guarantee: str = ""
    """How data is visited: 'every sample once an epoch' or why not."""
    workers_seen: int = 0
    """How many worker indices ever joined."""
    workers_lost: list[int] = []
    """Indices that were lost or hung at least once; the 256 lowest."""
    notices: list[Notice] = []
    """What a person should know of: given up after a wait, or bad; the newest 16, oldest first."""
    advice: Advice | None = None
    """How many workers help; null while too little was measured, and where the strategy allows no advice."""


class Status(Totals, frozen=True, kw_only=True):
    """A job as shard 0 sees it. Rates are over the last seconds."""

    phase: str
    """starting | running | stopping | saving | evaluating | finished"""
    workers: list[WorkerView] = []
    """All members, and the newest 256 of those that were."""
    workers_unlisted: int = 0
    """How many more there were, which ended before those in `workers`."""
    waiting_for: str = ""
    """What the job waits for while nothing moves, for how long and how much longer at most; empty while it moves."""
    samples_per_second: float = 0.0
    """Of all workers together."""
    updates_per_second: float = 0.0
    """Of all workers together."""
    staleness_histogram: dict[int, int] = {}
    """{staleness: accepted pushes}, shard 0."""
    refused_messages: dict[str, int] = {}
    """{reason: messages} that shard 0 did not serve, because they could not be read, could not be true, or were not
    their sender's to say."""
    rejected_workers: list[int] = []
    """Workers whose gradients the strategy does not listen to for now."""
    ever_rejected: list[int] = []
    """The same, and those that were let back."""
    refused_lately: list[int] = []
    """Those of `suspects` of whom a push was refused in the last five minutes."""
    terms: list[int] = []
    """Of each shard: how often it was started; 0 for one that has not been heard of yet."""
    checkpoint_error: str = ""
    """Why the newest attempt at a checkpoint failed; empty when it did not."""
    progress: float | None = None
    """0..1 towards the stop rule that will be reached first; null when no rule can be foreseen (a metric)."""
    eta_seconds: float | None = None
    """Until that rule is reached, at the present rate."""
    stop_after: StopAfter = field(default_factory=StopAfter)
    """The stop rule in force; a live field of the job, so it comes with each status."""
    serving: ServingView = field(default_factory=ServingView)
    """What shard 0 spent on pushes and pulls."""
    shards: list[ShardView] = []
    """Each shard by itself, in order."""
    data: DataView | None = None
    """How far the data is dealt out; null for streams."""
