"""What of a model's state_dict is no trained parameter: buffers, frozen parameters, and second names of tied ones.

A checkpoint holds the trained parameters only. The rest is left in files by the evaluator and by workers (`left.py`),
and `asgd run` puts all together in model.safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from asgd.host.say import say
from asgd.worker import left
from asgd.worker.device.buffers import least_steps
from asgd.worker.device.flat import Flat, plain

WIDE_FLOATS = (torch.float16, torch.float32, torch.float64)


def aliases(model: nn.Module) -> dict[str, str]:
    """{second name: first name} of tied parameters."""
    first = {id(p): plain(name) for name, p in model.named_parameters()}
    every = {plain(name): first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    return {name: known for name, known in every.items() if name != known}


def rest(model: nn.Module, trained: Collection[str]) -> dict[str, Any]:
    """What the state_dict holds beside the parameters `trained` and second names of them, on its device.

    A module's own `get_extra_state` may be anything.
    """
    tied = aliases(model)
    state = {plain(name): value for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if tied.get(name, name) not in trained}


def extras(model: nn.Module, trained: Collection[str]) -> dict[str, torch.Tensor]:
    """The tensors among them, as a file can hold them: on the CPU, none a view of another."""
    found = rest(model, trained).items()
    return {name: _common(value) for name, value in found if _storable(value)}


class WholeModel(NamedTuple):
    """A model as plain PyTorch loads it."""

    tensors: dict[str, npt.NDArray[Any]]
    lacks: list[str]
    """Names in its state that no file of tensors holds."""


def whole_model(model: nn.Module, answer: Mapping[str, npt.NDArray[Any]]) -> WholeModel:
    """`model` with the parameters `answer`, under all their names, and with the buffers that it has now."""
    tensors: dict[str, npt.NDArray[Any]] = {**answer}
    tensors |= {second: answer[name].copy() for second, name in aliases(model).items() if name in answer}
    tensors |= {name: value.numpy() for name, value in extras(model, answer.keys()).items()}
    return WholeModel(tensors, sorted(rest(model, answer.keys()).keys() - tensors.keys()))


def save_extras(model: nn.Module, trained: Collection[str], path: Path) -> None:
    """Writes them to `path`, whole or not at all."""
    _write(extras(model, trained), path)


def leave_extras(
    model: nn.Module, flat: Flat, path: Path | None, index: int, steps: int, samples: int
) -> None:
    """Worker `index` leaves its share beside `path` after `steps` steps, when the job is at `samples` samples.

    A full disk is said, and ends nobody.
    """
    if path is None:
        return
    trained = {name for name, _ in flat.layout}
    parameters = {plain(name) for name, _ in model.named_parameters(remove_duplicate=False)}
    found = rest(model, trained)
    tensors = {name: value for name, value in found.items() if _storable(value)}
    frozen = {name: value for name, value in tensors.items() if name in parameters}
    told = {"aliases": json.dumps(aliases(model)), "names": json.dumps(sorted(found)), "steps": str(steps)}
    told |= {"least": str(least_steps(model)), "samples": str(samples)}
    try:
        buffers = {name: _common(value) for name, value in tensors.items() if name not in frozen}
        _write(buffers, left.of_worker(path, index), told)
        if frozen and _claimed(left.of_frozen(path)):
            _write({name: _common(value) for name, value in frozen.items()}, left.of_frozen(path))
    except (OSError, SafetensorError) as error:
        say(f"worker {index}: buffers and frozen parameters are not saved: {error}")


def _storable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def _claimed(path: Path) -> bool:
    """The first worker that comes here writes the file: all have the same to write, and it may be large."""
    try:
        path.with_suffix(".partial").touch(exist_ok=False)
    except FileExistsError:
        return False
    return not path.exists()


def _write(tensors: dict[str, torch.Tensor], path: Path, told: dict[str, str] | None = None) -> None:
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=told)
    partial.replace(path)


def _common(value: torch.Tensor) -> torch.Tensor:
    """Float types that NumPy lacks become float32, complex128 what files know: complex64."""
    kind = value.dtype
    if value.is_floating_point() and kind not in WIDE_FLOATS:
        kind = torch.float32
    if value.is_complex():
        kind = torch.complex64
    return value.detach().to("cpu", kind, copy=True).contiguous()
