"""What of the coordinator outlives a restart of shard 0: one list, which both its saving and its loading go by.

What does not stand in `Kept` begins anew: members say hello again, leases are open again, times start again, and the
number of the newest save is found in the store. A field of `Kept` is an attribute of the coordinator of the same
name, but for those that `capture` and `take_over` name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.server.agreement import Agreement
from asgd.server.divergence import Divergence
from asgd.server.mean import Mean
from asgd.server.notices import Notices
from asgd.server.patience import Patience
from asgd.server.pool import PoolState
from asgd.server.rhythm import Counts
from asgd.spec.status import BestView

if TYPE_CHECKING:
    from asgd.server.coordinator import Coordinator

RUN_BOUND = (
    "stop_reason", "stop_detail", "evaluation_error",
    "divergence", "diverged_by", "suspects", "finished_loops", "seen", "lost", "notices",
    "rollbacks", "rollback_detail", "back_at", "diverged_at",
)  # fmt: skip
"""Of one start of the job only: a job that is resumed by another one begins these anew."""

NOT_UNDONE = (
    "notices", "restarts", "seen", "lost", "suspects", "finished_loops", "evaluations_failed", "agreement", "best",
)  # fmt: skip
"""What a rollback leaves as it was: it has happened, whatever the weights are now."""


class Kept(Struct, rename="camel"):
    """The coordinator's part of a checkpoint, as JSON-able values."""

    run: str = ""
    """Which start of the job has saved this."""
    dataset: int | None = None
    pool: PoolState | None = None
    tensors: str = ""
    guarantee: str = ""
    stop_reason: str = ""
    stop_detail: str = ""
    updates: int = 0
    samples: int = 0
    seconds: float = 0.0
    """Trained until then."""
    mean_loss: Mean = msgspec.field(default_factory=Mean)
    mean_scalars: dict[str, Mean] = {}
    divergence: Divergence = msgspec.field(default_factory=Divergence)
    diverged_by: list[int] = []
    rollbacks: int = 0
    rollback_detail: str = ""
    back_at: int = 0
    diverged_at: int = 0
    suspects: set[int] = set()
    metrics: dict[str, float] = {}
    metrics_at: int = -1
    evaluated_at: Counts = Counts()
    best: BestView | None = None
    patience: Patience = msgspec.field(default_factory=Patience)
    evaluations_failed: int = 0
    evaluation_error: str = ""
    restarts: dict[str, int] = {}
    finished_loops: set[int] = set()
    seen: set[int] = set()
    lost: set[int] = set()
    notices: Notices = msgspec.field(default_factory=Notices)
    agreement: Agreement = msgspec.field(default_factory=Agreement)


_MADE = ("run", "dataset", "pool", "tensors", "seconds")
_PLAIN = tuple(name for name in Kept.__struct_fields__ if name not in _MADE)


def capture(coordinator: Coordinator, now: float) -> dict[str, Any]:
    """The state at `now` as JSON-able values."""
    kept = Kept(
        run=coordinator.run, dataset=coordinator.dataset,
        pool=coordinator.pool.state() if coordinator.pool else None,
        tensors=coordinator.tensors.decode(), seconds=coordinator.trained_seconds(now),
        **{name: getattr(coordinator, name) for name in _PLAIN},
    )  # fmt: skip
    told: dict[str, Any] = msgspec.to_builtins(kept)
    return told


def take_over(coordinator: Coordinator, state: dict[str, Any]) -> None:
    """Puts a state that `capture` has made into a fresh coordinator. Raises UserError when it is none."""
    kept = _read(state)
    same_run = kept.run == coordinator.run
    for name in _PLAIN:
        if same_run or name not in RUN_BOUND:
            setattr(coordinator, name, getattr(kept, name))
    if not same_run:
        coordinator.agreement.of_earlier_start()
        coordinator.patience.waited = 0
    coordinator.seconds_before = kept.seconds
    coordinator.describe_data(kept.dataset, kept.guarantee, kept.tensors.encode())
    if coordinator.pool and kept.pool:
        coordinator.pool.load(kept.pool)


def pass_on(coordinator: Coordinator, state: dict[str, Any]) -> None:
    """After a rollback: puts in what the job's `state` just before it had seen, and what is not undone of it."""
    kept = _read(state)
    for name in NOT_UNDONE:
        setattr(coordinator, name, getattr(kept, name))
    coordinator.seconds_before = kept.seconds


def _read(state: dict[str, Any]) -> Kept:
    try:
        return msgspec.convert(state, Kept)
    except msgspec.ValidationError as error:
        raise UserError(f"spec.checkpoint.restore: the job's state can't be read: {error}") from error
