"""A job that diverged goes back to its newest save: what each server is told of it. Pure.

Shard 0 decides. A server goes back by beginning anew in its process, in a term of its own, as after a restart, so all
that holds for restarts holds here: workers say hello again, what was acknowledged since is counted as lost, leases are
open again. One number is new, how often the job has gone back. Each push names that of the weights it was computed
from, and is refused where the server's is another; each answer names the server's, and a worker that reads a new one
drops what it holds and begins anew from the centre. By that number all of them know the learning rate, too
(`algorithms/schedule.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Rollback:
    """One server's order to go back: the job's rollback number `number`, to the newest whole save up to `save`."""

    number: int
    save: int
    term: int
    """The start of the server that ends; it had come to `version` and `samples`."""
    version: int
    samples: int
    why: str = ""
    """Shard 0's reason, in a sentence without a full stop; empty where it only follows the other shards."""
    job: dict[str, Any] | None = None
    """Shard 0's: the job's state at this moment, of which some is not undone."""
