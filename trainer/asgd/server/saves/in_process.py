"""A checkpoint store of servers that share this process, in virtual time: what `store.py` keeps in files is kept here.

What is written is a copy, as on a disk: it survives the servers. It may be slow (`seconds` a call to it) or refuse
(`refusal`); a server that crashes while it waits loses what was under way.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from asgd.errors import Fenced, TryAgain
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.rollback import Rollback
from asgd.server.saving import Restored
from asgd.wire.reports import Part


@dataclass(frozen=True, slots=True)
class _File:
    """A shard's file of a save; `meta` is JSON, as in a real one."""

    arrays: dict[str, F32]
    meta: str


class MemoryStore:
    """The saves of one job, and which term of each shard is the newest."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        """Virtual time that one call takes; inf: it never answers."""
        self.refusal = ""
        """Why it refuses everything at this moment; empty: it does not."""
        self.terms: dict[int, int] = {}
        self.files: dict[tuple[int, int], _File] = {}
        """By number of the save and shard."""
        self.manifests: dict[int, Manifest] = {}

    # -- what a server asks in its life (`SaveStore`) ----------------------------------------------

    def check_term(self, shard: int, term: int) -> None:
        self._may_refuse()
        newest = self.terms.get(shard, 0)
        if newest > term:
            raise Fenced(f"shard {shard} of term {term} was replaced by term {newest}")

    def write_part(
        self, number: int, shard: int, shards: int, arrays: dict[str, F32], meta: dict[str, Any]
    ) -> Part:
        self._may_refuse()
        copies = {name: array.copy() for name, array in arrays.items()}
        self.files[number, shard] = _File(copies, json.dumps(meta))
        size = sum(array.nbytes for array in copies.values())
        return Part(f"shard-{shard}-of-{shards}", 0, 0, int(meta["version"]), size)

    def write_manifest(self, manifest: Manifest) -> None:
        self._may_refuse()
        self.manifests[manifest.save] = replace(manifest)

    def prune(self, keep: int, spared: Collection[int] = ()) -> None:
        self._may_refuse()
        newest = sorted(self.manifests)[-keep:]
        kept = sorted({*newest, *spared})
        for number in [number for number in self.manifests if number not in kept]:
            del self.manifests[number]
        for number, shard in list(self.files):
            if kept and number < kept[-1] and number not in kept:
                del self.files[number, shard]

    def keep_own(self, manifest: Manifest, shard: int, keep: int) -> None:
        """Nothing to do: this store is everybody's."""

    def _may_refuse(self) -> None:
        if self.refusal:
            raise TryAgain(self.refusal)

    # -- what a server asks at its start -------------------------------------------------------------

    def claim_term(self, shard: int) -> int:
        """The next term of a shard."""
        self.terms[shard] = self.terms.get(shard, 0) + 1
        return self.terms[shard]

    def undo(self, after: int, shard: int) -> None:
        """As `Store.undo`."""
        for number in [number for number in self.manifests if number > after and shard == 0]:
            del self.manifests[number]

    @property
    def complete(self) -> tuple[tuple[int, int], ...]:
        """(number, updates) of the complete saves, oldest first."""
        return tuple((number, self.manifests[number].updates) for number in sorted(self.manifests))

    @property
    def newest_begun(self) -> int:
        """The highest number of a save, complete or not."""
        return max((number for number, _ in self.files), default=0)

    def restored(self, shard: int, now: float, back: Rollback | None = None) -> Restored | None:
        """What a shard finds at its start, with `back` up to the save it names; None: no complete save."""
        found = [number for number in self.manifests if back is None or number <= back.save]
        if not found:
            return None
        manifest = self.manifests[max(found)]
        file = self.files[manifest.save, shard]
        meta = json.loads(file.meta)
        # NB: the shard may go on working in these arrays, and another start may want them again.
        arrays = {name: array.copy() for name, array in file.arrays.items()}
        return Restored(
            manifest.save, manifest.size, manifest.layout, arrays, meta, meta.get("job"), replace(manifest),
            now - manifest.time, rollbacks=back.number if back else manifest.rollbacks, back=back,
        )  # fmt: skip
