"""Training or evaluation, module by module: a layer that its user has frozen by `eval()` stays frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def start_training(model: nn.Module) -> list[str]:
    """The model trains from now on; returns the names of the outermost modules that stay in evaluation mode.

    A model that is handed over in evaluation mode as a whole (as `from_pretrained` gives it) is put into training mode.
    In one that is in training mode each module keeps the mode that its user gave it.
    """
    if not model.training:
        model.train()
    resting: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in resting)
        if not module.training and not inside:
            resting.append(name)
    return resting


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All modules are in evaluation mode in the block; after it each has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
