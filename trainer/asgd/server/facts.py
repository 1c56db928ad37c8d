"""What a server tells about itself and, on shard 0, about the job: typed values that the view and the wire read.

Made from the live objects at one moment; whoever reads them knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgd.server.shard import Shard
from asgd.server.traffic import Traffic
from asgd.spec.status import Advice, ServingView
from asgd.wire import limits
from asgd.wire.reports import ShardReport


@dataclass(frozen=True, slots=True)
class SaveFacts:
    """The newest complete save of a job."""

    updates: int
    uri: str
    seconds_ago: float
    bytes: int


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What shard 0 knows of a job beside its coordinator. Lists are in order of shards."""

    job: str
    shards: list[ShardReport]
    """A shard that has not reported yet tells nothing but zeros."""
    terms: list[int]
    refused_messages: dict[str, int] = field(default_factory=dict)
    """{reason: messages} that shard 0 did not serve."""
    rejected: list[int] = field(default_factory=list)
    """Workers whose pushes the strategy leaves out at this moment."""
    ever_rejected: list[int] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What the strategy tells of itself (`ServerStrategy.tells`)."""
    optimizer: str = ""
    """The scripts' own, and where it is run."""
    save: SaveFacts | None = None
    save_error: str = ""
    """Why the newest save failed, or what keeps the one under way; empty if nothing is wrong."""
    serving: ServingView = field(default_factory=ServingView)
    advice: Advice | None = None
    """How many workers help."""
    staleness_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    """{worker: its accepted pushes, and the sum of their staleness on shard 0}, of this start."""

    @property
    def lost_updates(self) -> int:
        """Acknowledged updates that restarts of any shard have lost."""
        return sum(report.lost for report in self.shards)


def shard_report(shard: Shard, traffic: Traffic) -> ShardReport:
    """The figures of one shard; what saving adds is left out."""
    return ShardReport(
        version=shard.state.version,
        ready=shard.ready,
        histogram=dict(shard.histogram),
        refused=dict(shard.refused),
        suspects=dict(sorted(shard.outliers.workers.items())[: limits.SUSPECTS_MOST]),
        lost=shard.losses.updates,
        rollbacks=shard.rollbacks,
        sent=traffic.sent,
        received=traffic.received,
        requests=sum(map(sum, traffic.counts.values())),
        busy_microseconds=round(1e6 * sum(traffic.seconds.values())),
        held_back=traffic.held_back,
        codec_saved=shard.saved,
    )


def save_error(own: str | None, reports: Mapping[int, ShardReport], newest: str) -> str:
    """The first trouble of a save: shard 0's `own` (None: there is no store), another shard's, that of the newest."""
    if own is None:
        return ""
    others = (
        f"shard {index}: {report.store_trouble}"
        for index, report in sorted(reports.items())
        if report.store_trouble
    )
    return own or next(others, newest)


def serving(traffic: Traffic) -> ServingView:
    """What a server has spent on pushes and pulls."""
    return ServingView(sum(map(sum, traffic.counts.values())), sum(traffic.seconds.values()))
