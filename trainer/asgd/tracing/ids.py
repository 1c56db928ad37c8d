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
        return _number(f"push {shard}", self.trace, 8)

    def pull(self, shard: int, request: int) -> int:
        """The same of its pull, which is number `request`."""
        return _number(f"pull {shard} {request}", self.trace, 8)


def ids_of(job: str, worker: int, incarnation: int, sequence: int, request: int) -> Ids:
    """Of the newest push, number `sequence`; 0: there was none yet, and it is the pull number `request` alone."""
    about = f"{job} {worker} {incarnation} {sequence or f'pull {request}'}"
    return Ids(_number(f"trace {about}", 0, 16), _number(f"exchange {about}", 0, 8))


def _number(text: str, within: int, size: int) -> int:
    digest = blake2b(text.encode(), digest_size=size, key=within.to_bytes(16, "big") if within else b"")
    return int.from_bytes(digest.digest(), "big") or 1
