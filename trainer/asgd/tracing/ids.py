"""Trace and span ids of an exchange, made by worker and server alike from what both know of it: nothing is sent.

A push is one trace. Pulls that follow it until the next push belong to it, for a server cannot tell one that completes
the exchange from one that stands alone; pulls before any push are a trace each. Ids are uniform, so both sides sample
the same exchanges.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Ids:
    """Of one trace; 128 and 64 bits, never 0."""

    trace: int
    exchange: int
    """The worker's span of the exchange that the trace is about."""

    def push(self, shard: int) -> int:
        """The worker's span of its push to a shard: the parent of what the shard does about it."""
        return _number(f"push {shard}", self.trace)

    def pull(self, shard: int, request: int) -> int:
        """The same of its pull, which is number `request`."""
        return _number(f"pull {shard} {request}", self.trace)


def ids_of(job: str, worker: int, incarnation: int, sequence: int, request: int) -> Ids:
    """Of the newest push, number `sequence`; 0: there was none yet, and it is the pull number `request` alone."""
    about = f"{job} {worker} {incarnation} {sequence or f'pull {request}'}"
    found = blake2b(about.encode(), digest_size=24).digest()
    return Ids(int.from_bytes(found[:16], "big") or 1, int.from_bytes(found[16:], "big") or 1)


def _number(text: str, within: int) -> int:
    digest = blake2b(text.encode(), digest_size=8, key=within.to_bytes(16, "big"))
    return int.from_bytes(digest.digest(), "big") or 1
