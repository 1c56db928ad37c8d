"""Carries out what a core wishes of its checkpoint store, in a thread of its own: the store may take its time, or hang.

Serving waits for the copy of the arrays alone, which is made at memory speed into memory that is kept for it: the first
copy, which touches it, is made when training begins. The thread stands back behind those that serve and train.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from asgd import kernel
from asgd.errors import Fenced, FencedByOther, TryAgain
from asgd.host.priority import stand_back
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.saving import CheckTerm, KeepOwn, Outcome, Publish, Wish, WritePart
from asgd.wire.reports import Part


class SaveStore(Protocol):
    """What is asked of a checkpoint store. Each call raises TryAgain when the store refuses."""

    def check_term(self, shard: int, term: int) -> None:
        """Raises Fenced when a newer server of this shard has started."""

    def write_part(
        self, number: int, shard: int, shards: int, arrays: dict[str, F32], meta: dict[str, Any]
    ) -> Part:
        """Writes a shard's file of a save."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Makes a save exist."""

    def prune(self, keep: int, spared: Collection[int] = ()) -> None:
        """Removes all but the newest `keep` complete saves and those `spared`."""

    def keep_own(self, manifest: Manifest, shard: int, keep: int) -> None:
        """Keeps a shard's own view of a complete save where the manifest is not to be seen."""


def carry_out(store: SaveStore, wish: Wish, clock: Callable[[], float] = time.time) -> Outcome:
    """Does what is wished; whatever comes of it is told in the outcome. `clock` gives seconds since 1970."""
    try:
        return _carry_out(store, wish, clock)
    except Fenced as error:
        return Outcome(wish, False, str(error), fenced=True, foreign=isinstance(error, FencedByOther))
    except TryAgain as error:
        return Outcome(wish, False, str(error))
    except Exception as error:
        # NB: a store's library may raise anything; it must cost a save and not the server.
        return Outcome(wish, False, f"the checkpoint store: {type(error).__name__}: {error}")


def _carry_out(store: SaveStore, wish: Wish, clock: Callable[[], float]) -> Outcome:
    match wish:
        case WritePart():
            return _write_part(store, wish, clock)
        case Publish():
            manifest = wish.manifest
            store.check_term(0, manifest.term)
            manifest.time = clock()
            store.write_manifest(manifest)
            try:
                store.prune(wish.keep, wish.spared)
            except Exception as error:
                # The save is there; old ones that stay are told, and tried again after the next.
                return Outcome(wish, True, str(error), time=manifest.time)
            return Outcome(wish, True, time=manifest.time)
        case KeepOwn():
            wish.manifest.time = clock()
            store.keep_own(wish.manifest, wish.shard, wish.keep)
            return Outcome(wish, True)
        case CheckTerm():
            store.check_term(wish.shard, wish.term)
            return Outcome(wish, True)


def _write_part(store: SaveStore, wish: WritePart, clock: Callable[[], float]) -> Outcome:
    if not all(kernel.finite(array) for array in wish.arrays.values()):
        raise TryAgain(f"shard {wish.shard} holds inf or nan, which nobody wants back: not saved")
    store.check_term(wish.shard, wish.term)
    part = store.write_part(wish.number, wish.shard, wish.shards, wish.arrays, wish.meta)
    part.start, part.stop = wish.span.start, wish.span.stop
    return Outcome(wish, True, part=part, time=clock())


class Spare:
    """Memory for one copy of a shard's arrays. Pages that were never touched cost several times what the copy does."""

    def __init__(self) -> None:
        self._arrays: dict[str, F32] = {}

    def copy(self, arrays: dict[str, F32]) -> dict[str, F32]:
        """A copy of `arrays`, good until the next one."""
        copies = {}
        for name, array in arrays.items():
            kept = self._arrays.get(name)
            if kept is None or kept.size != array.size:
                kept = self._arrays[name] = np.empty(array.size, np.float32)
            np.copyto(kept, array)
            copies[name] = kept
        return copies


class Saver:
    """One wish at a time. `fileno` is readable when an outcome is there. A daemon: a store that hangs ends with it."""

    def __init__(self, store: SaveStore) -> None:
        self._store, self._spare = store, Spare()
        self._wishes: queue.SimpleQueue[tuple[Wish, Wish] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """What a poller waits for."""
        return self._bell

    def begin(self, wish: Wish) -> None:
        """Has a wish carried out; its arrays are copied before this returns. The one before it has its outcome."""
        work = replace(wish, arrays=self._spare.copy(wish.arrays)) if isinstance(wish, WritePart) else wish
        self._wishes.put((wish, work))

    def outcome(self) -> Outcome | None:
        """An outcome that was not taken yet."""
        with suppress(BlockingIOError):
            os.read(self._bell, 16)
        with suppress(queue.Empty):
            return self._outcomes.get_nowait()
        return None

    def _run(self) -> None:
        stand_back()
        while asked := self._wishes.get():
            wish, work = asked
            self._outcomes.put(replace(carry_out(self._store, work), wish=wish))
            os.write(self._ring, b"!")

    def close(self, patience_seconds: float) -> None:
        """Waits for what is under way, no longer than its patience."""
        self._wishes.put(None)
        self._thread.join(patience_seconds)
