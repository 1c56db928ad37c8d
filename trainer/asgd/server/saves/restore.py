"""Where a server begins: from what its predecessor kept in memory, from a save, or from nothing."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from asgd.algorithms.gathering import shard_cuts
from asgd.errors import Damaged, TryAgain, UserError
from asgd.host.say import say
from asgd.server.manifest import Manifest
from asgd.server.rollback import Rollback
from asgd.server.saves.choosing import Found, locate, of_store, take
from asgd.server.saves.in_memory import Kept
from asgd.server.saves.reading import prove, read_range, read_state
from asgd.server.saves.store import Store
from asgd.server.saving import Restored
from asgd.spec.types import Job, JobSpec
from asgd.wire.partition import Range, shard_range


def find(
    job: Job, index: int, run: str, store: Store | None, kept: Kept | None, back: Rollback | None = None
) -> Restored | None:
    """The newest state that there is of shard `index`; None: begin anew. Raises UserError where no save is whole.

    `kept` is what its predecessor left in memory. With `back` the job goes back: that counts for nothing then.
    """
    if store and back:
        return _go_back(store, index, job.spec, run, back)
    spec, restore = job.spec, job.spec.checkpoint.restore
    if store is None:
        return _of_memory(kept, None) if kept else None
    try:
        found = locate(store, restore, run, index)
    except Damaged:
        found = None
    # NB: both are of one history, for each server begins from the newer one: the higher version is the later.
    if kept and (_rollbacks(kept), kept.meta["version"]) >= _reached(found, run, index, spec):
        return _of_memory(kept, found[2] if found else None)

    def read(found: Found) -> Restored:
        if of_store(found, store) and found[2].run != run:
            _prove_others(found, store, _span(found[2], index, spec))
        return _of_save(found, index, spec, run)

    lines: list[str] = []
    restored = take(store, restore, run, read, lines.append, index)
    for line in lines:
        say(line)
    return replace(restored, skipped="; ".join(lines)) if restored and lines else restored


def _go_back(store: Store, index: int, spec: JobSpec, run: str, back: Rollback) -> Restored:
    """The newest whole save up to that which shard 0 has named; on this shard's own store it may be an older one."""
    skip = {number for number in store.begun() if number > back.save}
    lines: list[str] = []
    while True:
        number = 0
        try:
            newest = store.newest(index, skip)
            if newest is None:
                raise UserError(
                    f"spec.onDivergence: shard {index} has no whole checkpoint up to {back.save:06d} to go back to"
                )
            number = newest.save
            found = store.fs, store.path(f"{number:06d}"), newest
            restored = _of_save(found, index, spec, run)
        except Damaged as error:
            lines.append(f"checkpoint {number or error.save:06d} is not whole and is skipped: {error}")
            say(lines[-1])
            skip.add(number or error.save)
            continue
        return replace(restored, rollbacks=back.number, back=back, skipped="; ".join(lines))


def _prove_others(found: Found, store: Store, own: Range) -> None:
    """All shards of a new run must begin from one save, so each looks at the others' parts as well, if it sees them.

    A store that a shard shares with others holds their terms.
    """
    fs, folder, manifest = found
    others = (
        (shard, part) for shard, part in enumerate(manifest.parts) if Range(part.start, part.stop) != own
    )
    prove(fs, folder, manifest, [part for shard, part in others if store.newest_term(shard)])


def _of_memory(kept: Kept, newest: Manifest | None) -> Restored:
    return Restored(
        kept.number, kept.size, kept.layout, kept.arrays, kept.meta, kept.job, newest, _age(newest),
        rollbacks=_rollbacks(kept),
    )  # fmt: skip


def _rollbacks(kept: Kept) -> int:
    return int(kept.meta.get("rollbacks", 0))


def _reached(found: Found | None, run: str, index: int, spec: JobSpec) -> tuple[int, int]:
    """(rollbacks, version) of a shard in a save of this run; (-1, -1) if there is none."""
    if found is None or found[2].run != run:
        return -1, -1
    span = _span(found[2], index, spec)
    own = (part.version for part in found[2].parts if Range(part.start, part.stop) == span)
    return found[2].rollbacks, max(own, default=-1)


def _span(manifest: Manifest, index: int, spec: JobSpec) -> Range:
    """What shard `index` of the job holds of a save."""
    return shard_range(manifest.size, index, spec.parameter_server.shards, _cuts(manifest, spec))


def _cuts(manifest: Manifest, spec: JobSpec) -> tuple[int, ...]:
    return shard_cuts(spec, manifest.tensors, spec.parameter_server.shards, manifest.size)


def _of_save(found: Found, index: int, spec: JobSpec, run: str) -> Restored:
    fs, folder, manifest = found
    arrays, meta = read_range(fs, folder, manifest, _span(manifest, index, spec))
    if _cuts(manifest, spec):
        # NB: what another optimizer saved does not say it by itself.
        meta["tensors"] = json.dumps(manifest.tensors)
    job = read_state(fs, folder, manifest) if index == 0 else None
    return Restored(
        manifest.save, manifest.size, manifest.layout, arrays, meta, job, manifest, _age(manifest),
        rollbacks=manifest.rollbacks if manifest.run == run else 0,
    )  # fmt: skip


def _age(manifest: Manifest | None) -> float:
    return max(0.0, time.time() - manifest.time) if manifest else 0.0


def open_store(uri: str) -> Store:
    """The checkpoint store. It was good when the job began, so that one that can't be reached now may come back."""
    try:
        return Store(uri)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise TryAgain(str(error)) from error
        raise
