"""Where a server begins: from what its predecessor kept in memory, from a checkpoint, or from nothing."""

from __future__ import annotations

from typing import Any

from asgd.errors import ProtocolError, TryAgain, UserError
from asgd.host.env import ProcessConfig
from asgd.server.chief import Chief
from asgd.server.saves.in_memory import Memory
from asgd.server.saves.store import Manifest, Store, locate, read_range, read_state
from asgd.server.shard import Shard
from asgd.wire.partition import shard_range

Found = tuple[Any, str, Manifest]


def restore(
    config: ProcessConfig, store: Store | None, memory: Memory | None, shard: Shard, chief: Chief | None
) -> None:
    """Brings `shard`, and on shard 0 `chief`, to the newest state that there is. Raises UserError on a bad one."""
    found = locate(store, config.job.spec.checkpoint.restore, config.run, shard.index) if store else None
    kept = memory.newest() if memory else None
    # NB: both are of one history, for each server begins from the newer one: the higher version is the later.
    if kept and kept.meta["version"] >= _version(found, config.run, shard):
        shard.restore(kept.size, kept.layout, kept.arrays, kept.meta)
        shard.recorder.restored(kept.number)
        if chief and kept.job:
            chief.restore(found[2] if found else None, kept.job)
    elif found:
        _from_checkpoint(found, shard, chief)
    elif shard.term > 1:
        shard.start_over()


def _version(found: Found | None, run: str, shard: Shard) -> int:
    """The version of this shard in a checkpoint of this run; -1 if there is none."""
    if found is None or found[2].run != run:
        return -1
    span = shard_range(found[2].size, shard.index, shard.shards)
    own = (part.version for part in found[2].parts if (part.start, part.stop) == (span.start, span.stop))
    return max(own, default=-1)


def _from_checkpoint(found: Found, shard: Shard, chief: Chief | None) -> None:
    fs, folder, manifest = found
    part = shard_range(manifest.size, shard.index, shard.shards)
    arrays, meta = read_range(fs, folder, manifest, part)
    try:
        shard.restore(manifest.size, manifest.layout, arrays, meta)
        shard.recorder.restored(manifest.round)
    except ProtocolError as error:
        raise UserError(f"spec.checkpoint.restore: {folder}: {error}") from error
    if chief:
        chief.restore(manifest, read_state(fs, folder, manifest))


def open_store(uri: str) -> Store:
    """The checkpoint store. It was good when the job began, so that one that can't be reached now may come back."""
    try:
        return Store(uri)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise TryAgain(str(error)) from error
        raise
