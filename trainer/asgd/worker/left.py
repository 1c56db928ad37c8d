"""What processes leave of a model beside its trained parameters: files next to ASGD_EXTRAS, and how they add up.

The evaluator's file is whole, and its buffers are those that it has measured with. Where there is none (no `evaluate`,
a script with its own loop, an evaluator that failed) each worker's own file holds its buffers, and one more the frozen
parameters, which all have alike. A run that goes on from another one keeps what that had where none of its own
processes has left better. Read without torch, by `asgd run`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

Tensors = dict[str, npt.NDArray[Any]]
LEAST_STEPS = 50
"""So many steps of its own until a worker's buffers count, at batch norm's usual momentum 0.1: nothing is left then of
the values that the entrypoint built."""

LAST_PART = 0.9
"""Buffers of a worker whose loop ended before so much of the job are of weights of long ago."""


class Left(NamedTuple):
    """What was found."""

    tensors: Tensors
    aliases: dict[str, str]
    """{second name of a tied parameter: its first name}"""
    names: list[str] | None
    """All names in the model's state that are no trained parameters, saved or not; None if no process told them."""
    about: dict[str, str]
    """For the metadata of the model file, by which a run that goes on from here knows what this one had."""


class _Part(NamedTuple):
    """One process's file, or the model file of the run before."""

    tensors: Tensors
    about: dict[str, str]

    @property
    def steps(self) -> int:
        """That its buffers have seen."""
        return int(self.about["steps"])

    @property
    def samples(self) -> int:
        """Of the job when it was written."""
        return int(self.about["samples"])

    @property
    def counts(self) -> bool:
        """They are enough."""
        return self.steps >= int(self.about["least"])

    @property
    def sound(self) -> bool:
        """No buffer has nan in it (inf may be a mask's)."""
        return not any(
            np.isnan(t).any() for t in self.tensors.values() if np.issubdtype(t.dtype, np.floating)
        )


def of_worker(extras: Path, index: int) -> Path:
    """The file of worker `index` beside the evaluator's `extras`."""
    return extras.with_name(f"{extras.stem}-worker-{index}{extras.suffix}")


def of_frozen(extras: Path) -> Path:
    """The file of the frozen parameters."""
    return extras.with_name(f"{extras.stem}-frozen{extras.suffix}")


def of_average(extras: Path) -> Path:
    """The evaluator's file for the moving average."""
    return extras.with_name(f"{extras.stem}-average{extras.suffix}")


def of_earlier(extras: Path) -> Path:
    """The model file of the run that this one goes on from."""
    return extras.with_name(f"{extras.stem}-earlier{extras.suffix}")


def keep_earlier(model: Path, extras: Path) -> None:
    """This run goes on from the one that has left `model`: what of it nobody leaves anew is not lost with it."""
    target = of_earlier(extras)
    with suppress(OSError):
        target.unlink(missing_ok=True)
        try:
            os.link(model, target)
        except FileNotFoundError:
            return
        except OSError:  # not every file system has links
            shutil.copyfile(model, target)


def of_model(extras: Path, average: bool) -> Tensors:
    """What the evaluator has left, for the centre or its moving average; nothing where it has not."""
    path = of_average(extras) if average else extras
    return _read(path)[0] if path.exists() else {}


def sweep(extras: Path) -> None:
    """Removes all of them, half-written ones included."""
    for path in extras.parent.glob(f"{extras.stem}*"):
        path.unlink(missing_ok=True)


def gather(extras: Path, policy: str, rejected: Collection[int] = ()) -> Left:
    """All files together; `policy`: `spec.buffers`, by which workers' float buffers become one.

    `rejected`: workers that the strategy did not listen to in the end.
    """
    files = sorted(extras.parent.glob(f"{extras.stem}-worker-*{extras.suffix}"), key=_index)
    files = [path for path in files if _index(path) not in rejected] or files
    told = [_Part(*_read(path)) for path in files]
    earlier = _earlier(extras, {name for part in told for name in part.tensors})
    tensors: Tensors = {} if told or earlier is None else dict(earlier.tensors)
    if of_frozen(extras).exists():
        tensors |= _read(of_frozen(extras))[0]
    chosen = _chosen(told, earlier)
    tensors |= _settled([part.tensors for part in chosen], policy)
    measured = of_model(extras, average=False)
    tensors |= measured
    if not chosen:
        return Left(tensors, {}, None, {})
    about = dict(chosen[0].about)
    about["steps"] = about["least"] if measured else str(max(part.steps for part in chosen))
    return Left(tensors, json.loads(about["aliases"]), json.loads(about["names"]), about)


def _earlier(extras: Path, buffers: Collection[str]) -> _Part | None:
    """What the run before this one has left of `buffers`; of all that is not trained where they are none."""
    try:
        with safe_open(of_earlier(extras), "np") as file:
            told = file.metadata() or {}
            about = {key: told[key] for key in ("aliases", "names", "steps", "least")}
            wanted = buffers or json.loads(about["names"])
            return _Part({name: file.get_tensor(name) for name in file.keys() if name in wanted}, about)  # noqa: SIM118
    except (OSError, SafetensorError, KeyError):
        return None


def _index(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _chosen(told: list[_Part], earlier: _Part | None) -> list[_Part]:
    """Whose buffers count: those of workers that were there at the end with enough steps (`buffers.least_steps`); where
    none has as many, of the one with the most, which may be the run before this one.

    NB: a worker that joined shortly before the end has batch norm's statistics of a step or two, and so has each worker
    of a run that goes on for a few steps.
    """
    sound = [part for part in told if part.sound]
    if enough := [part for part in sound if part.counts]:
        end = LAST_PART * max(part.samples for part in enough)
        return [part for part in enough if part.samples >= end]
    if earlier and _fits(earlier, told):
        sound.append(earlier)
    return [max(sound or told, key=lambda part: part.steps)] if sound or told else []


def _fits(earlier: _Part, told: list[_Part]) -> bool:
    return not told or (earlier.sound and _shapes(earlier.tensors) == _shapes(told[0].tensors))


def _settled(parts: list[Tensors], policy: str) -> Tensors:
    """One worker's buffers, or under `average` the mean of the float ones."""
    if len(parts) < 2 or policy != "average":
        return parts[0] if parts else {}
    alike = [part for part in parts if _shapes(part) == _shapes(parts[0])]
    return {
        name: np.mean([part[name] for part in alike], axis=0, dtype=np.float64).astype(first.dtype)
        if np.issubdtype(first.dtype, np.floating)
        else first
        for name, first in parts[0].items()
    }


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}
