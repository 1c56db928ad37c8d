"""What a worker's own optimizer remembers, in a file: for a process that takes its place, and for a resumed job.

`asgd run` gives workers a folder for that (ASGD_STATE); a job with an object store has one there (`kept_afar.py`).
Each writes `worker-INDEX.pt` every `checkpoint.everySeconds` and when it ends, whole or not at all. It is read once,
when a worker joins: from its first step on, beginning anew means what it always does. Nothing is pickled: tensors and
plain values, as `torch.load(weights_only=True)` takes them.
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from asgd.host.say import say
from asgd.worker.device.backward import Early
from asgd.worker.device.flat import Flat
from asgd.worker.granting import Gradient
from asgd.worker.kept_afar import LAST_SECONDS, Afar
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.reading.leased import LeasedBatch


class Keeping:
    """Worker `index`'s file in `folder`. `recording`: what a restarted worker begins with is copied to this path.

    `afar`: where the file comes from and goes to, if `folder` is this process's alone.
    """

    def __init__(
        self, folder: Path, index: int, optimizer: TaskOptimizer, flat: Flat, every_seconds: float,
        recording: Path | None = None, afar: Afar | None = None,
    ) -> None:  # fmt: skip
        self.path = folder / f"worker-{index}.pt"
        self._optimizer, self._every, self._recording = optimizer, every_seconds, recording
        self._afar = afar
        self._of = {"layout": flat.hash, "optimizer": optimizer.name}
        self._due = time.monotonic() + every_seconds
        self._troubled = False

    def restore(self) -> str:
        """Takes what a predecessor has left; returns what became of it, in words, or '' where nobody left anything."""
        if self._afar and (trouble := self._afar.fetch()):
            return f"{self._of['optimizer']} begins anew: {trouble}"
        try:
            found = read(self.path, self._of)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            return f"{self._of['optimizer']} begins anew: {error}"
        try:
            self._optimizer.resume(found)
            if self._recording:
                shutil.copyfile(self.path, self._recording)
        except (ValueError, KeyError, OSError) as error:
            return f"{self._of['optimizer']} begins anew: {self.path.name} does not fit: {error}"
        return f"{self._of['optimizer']} goes on with the state of before"

    def between(self, gradient: Gradient) -> Gradient:
        """`gradient`, before which the file is written when it is time."""

        def kept(item: LeasedBatch, early: Early) -> float:
            if time.monotonic() >= self._due:
                self.save()
            return gradient(item, early)

        return kept

    def save(self) -> None:
        """A full disk is said once, and ends nobody."""
        self._due = time.monotonic() + self._every
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({**self._of, "state": self._optimizer.state()}, partial)
            partial.replace(self.path)
            if self._afar:
                self._afar.send()
        except (OSError, RuntimeError) as error:
            if not self._troubled:
                say(
                    f"{self.path} cannot be written, so a restart begins {self._of['optimizer']} anew: {error}"
                )
            self._troubled = True

    def close(self, leaving_seconds: float | None) -> None:
        """After the last `save`; `leaving_seconds`: that a worker which was told to leave may still take, else None."""
        if self._afar:
            self._afar.close(LAST_SECONDS if leaving_seconds is None else leaving_seconds)


def read(path: Path, of: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """A state that was saved. Raises OSError, or ValueError where it is damaged, or of another than `of`."""
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        other = next((name for name, value in of.items() if found[name] != value), None)
        state: dict[str, Any] = found["state"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if other:
        raise ValueError(f"{path.name} is of another {other}: {found[other]}")
    return state
