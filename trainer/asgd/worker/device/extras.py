"""What of a model's state_dict is no trained parameter: buffers, frozen parameters, and second names of tied ones.

A checkpoint holds the trained parameters only. The probe names the rest, the evaluator saves it, and `asgd run` puts
both together in model.safetensors.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from asgd.worker.device.flat import layout_of, plain


def aliases(model: nn.Module) -> dict[str, str]:
    """{second name: name in the layout} of tied parameters."""
    first = {id(p): plain(name) for name, p in model.named_parameters()}
    every = {plain(name): first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    return {name: known for name, known in every.items() if name != known}


def extras(model: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of the state_dict that are neither trained parameters nor second names of them, on their device."""
    known = {name for name, _ in layout_of(model)}
    known |= {name for name, tied in aliases(model).items() if tied in known}
    state = {plain(name): value for name, value in model.state_dict().items()}
    return {
        name: value for name, value in state.items() if name not in known and isinstance(value, torch.Tensor)
    }


def save_extras(model: nn.Module, path: Path) -> None:
    """Writes them to `path`, whole or not at all; float types that NumPy lacks become float32."""
    partial = path.with_suffix(".partial")
    save_file({name: _common(value) for name, value in extras(model).items()}, partial)
    partial.replace(path)


def _common(value: torch.Tensor) -> torch.Tensor:
    lacks = value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64)
    return value.detach().to("cpu", torch.float32 if lacks else value.dtype, copy=True).contiguous()
