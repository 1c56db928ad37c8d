"""What shard 0 tells about a job at one moment: the one source of the display, history, summary and the
operator's status.

The coordinator builds a `Status`; `/status` serves it as JSON (camelCase), `asgd run` shows it and writes it down.
Nothing is computed twice: a consumer that needs another figure adds a field here.
"""

from __future__ import annotations

from msgspec import Struct, field

from asgd.spec.durations import Spread
from asgd.spec.types import StopAfter


class StalenessView(Struct, rename="camel", frozen=True):
    """Staleness of accepted pushes in updates (shard version at apply - version computed from), over all shards."""

    mean: float = 0.0
    p50: int = 0
    p99: int = 0
    max: int = 0


class WorkerTimes(Struct, rename="camel", frozen=True):
    """Of one worker's life: its own part of each step, and its exchanges with the servers."""

    own: Spread = Spread()
    exchange: Spread = Spread()


class ServingView(Struct, rename="camel", frozen=True):
    """What shard 0 spent on pushes and pulls since it started."""

    requests: int = 0
    seconds: float = 0.0


class Notice(Struct, rename="camel", frozen=True):
    """Something that was waited for and given up, in one sentence."""

    number: int
    """Grows by one with each notice of the job: who has told number n tells those above it."""
    text: str


class WorkerView(Struct, rename="camel", frozen=True):
    """One worker that is or was a member. Times are seconds since the job's start on this server."""

    index: int
    state: str
    """running | stalled (a member that makes no progress) | left (said goodbye) | lost (heartbeats stopped or the
    process died) | hung (given up: it made no progress although its heartbeats went on)."""
    joined: float
    ended: float | None = None
    incarnation: int = 0
    samples: int = 0
    samples_per_second: float = 0.0
    loss: float | None = None
    node: str = ""
    times: WorkerTimes = WorkerTimes()
    samples_held: int = 0
    """Leased to it and not pushed yet."""
    idle_seconds: float = 0.0
    """Without progress although it owes some; 0 for who waits for others, for data or for a server."""

    @property
    def alive(self) -> bool:
        """It is a member now."""
        return self.state in ("running", "stalled")


class CheckpointView(Struct, rename="camel", frozen=True):
    """The newest complete checkpoint of the job."""

    updates: int = 0
    uri: str = ""
    seconds_ago: float = 0.0
    bytes: int = 0


class Status(Struct, rename="camel", frozen=True):
    """A job as shard 0 sees it. Rates are over the last seconds; totals count from the job's first start."""

    job: str
    phase: str
    """starting | running | stopping | saving | evaluating | finished"""
    algorithm: str
    workers: list[WorkerView] = []
    """All members, and the newest of those that were."""
    workers_seen: int = 0
    """How many worker indices ever joined."""
    workers_lost: list[int] = []
    """Indices that were lost or hung at least once; the 256 lowest."""
    workers_unlisted: int = 0
    """How many more there were that ended, oldest, beside those in `workers`."""
    waiting_for: str = ""
    """What the job waits for while nothing moves, since when and until when, in one sentence; else empty."""
    notices: list[Notice] = []
    """What was given up; the newest 16, oldest first."""
    updates: int = 0
    samples: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    samples_per_second: float = 0.0
    updates_per_second: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_saved: int = 0
    """What codecs saved of the payload bytes that fp32 would have taken, both ways."""
    loss: float | None = None
    metrics: dict[str, float | None] = {}
    """{name: value}, null when it is not finite."""
    metrics_at_updates: int = 0
    """The update count of the weights that `metrics` were measured on."""
    staleness: StalenessView = field(default_factory=StalenessView)
    staleness_histogram: dict[int, int] = {}
    """{staleness: accepted pushes}, shard 0."""
    refused: dict[str, int] = {}
    """{reason: pushes}: stale, nonfinite, session, stopped, norm."""
    refused_messages: dict[str, int] = {}
    """{reason: messages} that shard 0 did not serve, because they could not be read, could not be true, or were not
    their sender's to say."""
    rejected_workers: list[int] = []
    """Workers whose gradients the strategy does not listen to for now."""
    ever_rejected: list[int] = []
    """The same, and those that were let back."""
    versions: list[int] = []
    terms: list[int] = []
    restarts: dict[str, int] = {}
    """{role: restarts}"""
    lost_updates: int = 0
    revisited_samples: int = 0
    checkpoint: CheckpointView | None = None
    checkpoint_error: str = ""
    """Why the newest attempt at a checkpoint failed; empty when it did not."""
    progress: float | None = None
    """0..1 towards the stop rule that will be reached first; None when no rule can be foreseen (a metric)."""
    eta_seconds: float | None = None
    stop_reason: str = ""
    """epochs | updates | samples | seconds | metric | diverged | interrupted | suspended | stopped |
    ended (every worker's own loop did), or empty."""
    guarantee: str = ""
    """How data is visited: 'every sample once an epoch' or why not."""
    stop_after: StopAfter = field(default_factory=StopAfter)
    """The stop rule in force; a live field of the job, so it comes with each status."""
    serving: ServingView = field(default_factory=ServingView)
