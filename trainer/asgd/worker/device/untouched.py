"""A try of users' code on the model that will train: afterwards all is as if it had not been."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from asgd.worker.device.draws import generator
from asgd.worker.device.flat import Flat
from asgd.worker.device.randomness import random_state, set_random_state

PLAIN = (bool, int, float, str, type(None))
"""Attributes of modules that are kept: modes, and what a `forward` counts."""


@contextmanager
def untouched(model: nn.Module, flat: Flat) -> Iterator[None]:
    """After the block weights, buffers, modes, counters of modules and random numbers are as before, gradients are 0.

    NB: not what users' code keeps elsewhere, in a global or a generator of its own.
    """
    state, drawn = random_state(), generator(flat.device)
    of_device, weights = drawn.get_state(), flat.weights.clone()
    buffers = [
        (module, name, tensor, tensor.detach().clone())
        for module in model.modules()
        for name, tensor in module._buffers.items()
        if tensor is not None
    ]
    plain = [
        (module, {name: value for name, value in vars(module).items() if isinstance(value, PLAIN)})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        flat.zero()
        flat.load(weights)
        _put_back(buffers)
        for module, attributes in plain:
            vars(module).update(attributes)
        drawn.set_state(of_device)
        set_random_state(state)


def _put_back(buffers: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for module, name, tensor, value in buffers:
            module._buffers[name] = tensor
            if not tensor.is_meta:
                tensor.copy_(value)


def uncompiled() -> Any:
    """A compiled model computes as it is written in the block: a batch of another size would be compiled for itself."""
    # NB: who compiles has imported this; it takes a second.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
