"""One model file from a checkpoint store: of the newest whole save, or the best model as the evaluator left it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asgd.drivers.model_file import check_model, write_model
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.record.run import weights_hash
from asgd.server.manifest import Manifest
from asgd.server.saves import best
from asgd.server.saves.choosing import Found, take
from asgd.server.saves.reading import assemble
from asgd.server.saves.store import Store


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    path: Path
    updates: int
    parameters: int
    note: str = ""


def latest(uri: str, target: Path) -> Written:
    """The trained parameters of the newest whole save, by name. Raises UserError, TryAgain."""
    skipped: list[str] = []

    def read(found: Found) -> tuple[Manifest, dict[str, F32]]:
        return found[2], assemble(*found)

    taken = take(Store(uri, make=False), "Latest", "", read, skipped.append)
    if taken is None:
        raise UserError(f"{uri} holds no checkpoint yet")
    manifest, tensors = taken
    about = {
        "updates": str(manifest.updates),
        "job": manifest.job,
        "lacks": "buffers and frozen parameters, if any",
    }
    _write(target, lambda: write_model(target, tensors, about))
    return Written(target, manifest.updates, manifest.size, "; ".join(skipped))


def final(uri: str, run: str) -> tuple[int, str]:
    """Number of the save that holds the final weights of `run`, and their hash; (0, '') where there is none.

    Raises UserError, TryAgain.
    """

    def read(found: Found) -> tuple[Manifest, str]:
        return found[2], weights_hash(assemble(*found).values())

    taken = take(Store(uri, make=False), "Latest", "", read, lambda skipped: None)
    if taken is None or taken[0].run != run:
        return 0, ""
    return taken[0].save, taken[1]


def best_of(uri: str, target: Path) -> Written:
    """The best evaluated model, whole. Raises UserError, TryAgain."""
    store = Store(best.place(uri), make=False)
    record = best.read(store)
    if record is None:
        raise UserError(f"{uri} holds no best model: it needs spec.checkpoint.best, and an evaluation")
    partial = target.with_name(f"{target.name}.partial")

    def copy() -> None:
        with store.fs.open(best.path_of(store, record), "rb") as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file)
        check_model(partial)
        partial.replace(target)

    try:
        _write(target, copy)
    finally:
        partial.unlink(missing_ok=True)
    return Written(target, record.updates, 0, f"{record.metric} {record.value:g}")


def _write(target: Path, write: Callable[[], object]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
