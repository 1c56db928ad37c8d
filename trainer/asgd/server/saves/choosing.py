"""Which save is taken: the newest one that is whole. What was skipped is said, with the reason and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

from asgd.errors import Damaged, TryAgain, UserError
from asgd.server.manifest import Manifest
from asgd.server.saves.opening import open_uri
from asgd.server.saves.reading import prove, read_manifest
from asgd.server.saves.store import Store

Found = tuple[Any, str, Manifest]
"""A file system, the save's folder in it, and its manifest."""
T = TypeVar("T")
_PREFIX = "spec.checkpoint.restore: "


def locate(
    store: Store, restore: str, run: str, shard: int | None = None, skip: Container[int] = ()
) -> Found | None:
    """Where a server of `run` restores from, leaving out the saves `skip`; None for a fresh start.

    A server that comes back within its run always takes the newest save. At the run's start `restore` decides:
    Latest, None (start afresh although there are saves) or the URI of a save. Raises Damaged, UserError.
    """
    newest = store.newest(shard, skip)
    own = newest is not None and newest.run == run
    if restore == "None" and not own:
        return None
    if restore not in ("Latest", "None") and not own:
        try:
            fs, folder = open_uri(restore)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"spec.checkpoint.restore: {restore!r} cannot be read: {error}") from error
        return fs, folder, read_manifest(fs, folder)
    if newest is None:
        return None
    return store.fs, store.path(f"{newest.save:06d}"), newest


def take(
    store: Store, restore: str, run: str, read: Callable[[Found], T], note: Callable[[str], None],
    shard: int | None = None,
) -> T | None:  # fmt: skip
    """What `read` makes of the newest save that it can read whole; None for a fresh start.

    `read` raises Damaged for one that is not; `note` is told which saves were skipped and why. Raises UserError where
    no save is whole, or the one that `restore` names is not; TryAgain when the saves change meanwhile.
    """
    skipped: dict[int, str] = {}
    lost: list[Manifest] = []
    while True:
        before = store.saves()
        found: Found | None = None
        try:
            found = locate(store, restore, run, shard, skipped)
            result = read(found) if found else None
        except Damaged as error:
            number = found[2].save if found and of_store(found, store) else error.save
            if not number or number in skipped:  # it is what the user has named
                raise
            if number not in store.begun():
                raise TryAgain(f"checkpoint {number:06d} was removed while it was read") from error
            skipped[number] = str(error).removeprefix(_PREFIX)
            lost += [found[2]] if found else []
            continue
        wanted = restore == "Latest" or any(manifest.run == run for manifest in lost)
        if found is None and skipped and wanted:
            if store.saves() != before:
                raise TryAgain(f"checkpoint store {store.uri}: another save has appeared")
            raise UserError(f"{_PREFIX}no checkpoint in {store.uri} is whole: {'; '.join(skipped.values())}")
        if found is not None:
            _tell(found[2], skipped, lost, note)
        return result


def _tell(
    taken: Manifest, skipped: dict[int, str], lost: list[Manifest], note: Callable[[str], None]
) -> None:
    """One line for each save that was skipped."""
    updates = {manifest.save: manifest.updates for manifest in lost}
    for number, why in skipped.items():
        cost = f" ({behind:,} updates less)" if (behind := updates.get(number, 0) - taken.updates) > 0 else ""
        note(f"checkpoint {number:06d} is not whole and is skipped for {taken.save:06d}{cost}: {why}")


def of_store(found: Found, store: Store) -> bool:
    """Whether a save lies in `store`, and was not named by the user."""
    return found[1] == store.path(f"{found[2].save:06d}")


def prove_found(found: Found) -> Found:
    """`found`, once all of it has proved to be whole. Raises Damaged."""
    prove(*found)
    return found
