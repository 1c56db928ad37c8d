"""What processes leave of a model beside its trained parameters: files next to ASGD_EXTRAS, and how they add up.

The evaluator's file is whole, and its buffers are those that it has measured with. Where there is none (no `evaluate`,
a script with its own loop, an evaluator that failed) each worker's own file holds its buffers, and one more the frozen
parameters, which all have alike. Read without torch, by `asgd run`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

Tensors = dict[str, npt.NDArray[Any]]
LEAST_STEPS = 50
"""So many steps of its own until a worker's buffers count, at batch norm's usual momentum 0.1: nothing is left then of
the values that the entrypoint built."""


class Left(NamedTuple):
    """What was found."""

    tensors: Tensors
    aliases: dict[str, str]
    """{second name of a tied parameter: its first name}"""
    names: list[str] | None
    """All names in the model's state that are no trained parameters, saved or not; None if no process told them."""


def of_worker(extras: Path, index: int) -> Path:
    """The file of worker `index` beside the evaluator's `extras`."""
    return extras.with_name(f"{extras.stem}-worker-{index}{extras.suffix}")


def of_frozen(extras: Path) -> Path:
    """The file of the frozen parameters."""
    return extras.with_name(f"{extras.stem}-frozen{extras.suffix}")


def of_average(extras: Path) -> Path:
    """The evaluator's file for the moving average."""
    return extras.with_name(f"{extras.stem}-average{extras.suffix}")


def of_model(extras: Path, average: bool) -> Tensors:
    """What the evaluator has left, for the centre or its moving average; nothing where it has not."""
    path = of_average(extras) if average else extras
    return _read(path)[0] if path.exists() else {}


def sweep(extras: Path) -> None:
    """Removes all of them, half-written ones included."""
    for path in extras.parent.glob(f"{extras.stem}*"):
        path.unlink(missing_ok=True)


def gather(extras: Path, policy: str) -> Left:
    """All files together; `policy`: `spec.buffers`, by which workers' float buffers become one."""
    files = sorted(extras.parent.glob(f"{extras.stem}-worker-*{extras.suffix}"), key=_index)
    tensors: Tensors = {}
    if of_frozen(extras).exists():
        tensors |= _read(of_frozen(extras))[0]
    told = [_read(path) for path in files]
    tensors |= _settled(_trained(told), policy)
    tensors |= of_model(extras, average=False)
    if not told:
        return Left(tensors, {}, None)
    return Left(tensors, json.loads(told[0][1]["aliases"]), json.loads(told[0][1]["names"]))


def _index(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _trained(told: list[tuple[Tensors, dict[str, str]]]) -> list[Tensors]:
    """Those of workers with enough steps (`buffers.least_steps`); where none has as many, of the one with the most.

    NB: a worker that joined shortly before the end has batch norm's statistics of a step or two.
    """
    steps = [int(about["steps"]) for _, about in told]
    enough = min((int(about["least"]) for _, about in told), default=0)
    least = min(enough, max(steps, default=0))
    return [part for (part, _), count in zip(told, steps, strict=True) if count >= least]


def _settled(parts: list[Tensors], policy: str) -> Tensors:
    """One worker's buffers, or under `average` the mean of the float ones."""
    if not parts or policy != "average":
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
