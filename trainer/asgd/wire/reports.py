"""What goes along with a `Beat`: a worker's report or a shard's. An ill-formed one is refused on arrival.

`Part` is told by shards, kept in manifests and read back by restores.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from asgd.spec.status import PhasesView, WorkerTimes
from asgd.wire import limits

Count = Annotated[int, Meta(ge=0, le=limits.TOTAL_MOST)]
Name = Annotated[str, Meta(max_length=limits.NAME_MOST)]
Text = Annotated[str, Meta(max_length=limits.TEXT_MOST)]
"""A sentence; who tells it cuts it to this length."""


class Part(Struct, rename="camel"):
    """One shard's file of a save: elements [start, stop) of the flat vector at the shard's own `version`."""

    file: Name
    start: Count
    stop: Count
    version: Count
    bytes: Count
    header_crc32: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    """CRC-32 of the file's header, which holds those of its blocks; None: it has none (an earlier version's)."""


class BestReport(Struct, array_like=True):
    """The best evaluation, whose weights the evaluator has written as `file` of the store."""

    metric: Name
    value: float
    updates: Count
    samples: Count
    file: Name


class SaveReport(Struct, array_like=True):
    """A complete save of the job that is still in the store."""

    number: Count
    updates: Count
    """That it holds."""
    uri: str
    """Where it lies."""
    bytes: Count
    """Its size."""


class WorkerReport(Struct, tag="worker", tag_field="t"):
    """What a worker tells with its sign of life."""

    times: WorkerTimes = WorkerTimes()
    buffers: Annotated[bytes, Meta(max_length=limits.BUFFERS_MOST)] = b""
    """Its model's float buffers as float32, now and then; empty: not this time."""
    phases: PhasesView = PhasesView()
    """What it does."""
    lane: Name = ""
    """What its exchanges go over."""


class ShardReport(Struct, tag="shard", tag_field="t"):
    """A shard's figures since its first start where they are saved with it, else of this start."""

    version: Count = 0
    ready: bool = True
    """It has weights: who pulls from it need not wait for others to bring them."""
    histogram: dict[Count, Count] = {}
    """{staleness: accepted pushes}"""
    refused: Annotated[dict[Name, Count], Meta(max_length=limits.FIGURES_MOST)] = {}
    """{reason: pushes}"""
    suspects: Annotated[dict[Count, Count], Meta(max_length=limits.SUSPECTS_MOST)] = {}
    """{worker: its pushes that were out of all bounds here}"""
    lost: Count = 0
    """Acknowledged updates that restarts have lost."""
    sent: Count = 0
    received: Count = 0
    codec_saved: int = 0
    """Payload bytes that codecs saved of what fp32 would have taken; negative when they took more."""
    leaving: bool = False
    """This server was told to end and waits for a save that holds its state."""
    save: Count = 0
    """The newest save that it is through with; 0: none."""
    part: Part | None = None
    """What it wrote for that save; None: nothing, for the reason `error`."""
    error: Text = ""
    store_trouble: Text = ""
    """What is wrong with its checkpoint store at this moment, in a sentence."""
    rollbacks: Count = 0
    """How often the job has gone back to a checkpoint, as far as this shard is."""
    requests: Count = 0
    """Chunks of pushes and pulls that this start has served."""
    busy_microseconds: Count = 0
    """What they took."""
    held_back: Count = 0
    """Pulls that wait here for other workers."""
    skipped: Text = ""
    """Which saves this start has passed over because they are not whole, in a sentence."""


Report = WorkerReport | ShardReport | None
