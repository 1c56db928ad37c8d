"""One stage: some layers on one device, with a graph of its own for each micro-batch that is under way in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from asgd.worker.device.draws import Draws
from asgd.worker.parallel.carry import Gradients, Received, go_back, receive, roots
from asgd.worker.parallel.conversation import Asked


@dataclass(frozen=True)
class Passed:
    """What goes from stage to stage: what was asked, and the values so far (none before the first stage)."""

    asked: Asked
    values: Any = None


@dataclass
class Stage:
    """`layers` one after the other on `device`; `number` counts from 0."""

    number: int
    layers: Sequence[nn.Module]
    device: torch.device
    _under_way: dict[int, tuple[Received, list[Tensor]]] = field(default_factory=dict)

    def forward(self, part: int, passed: Passed, draws: Draws) -> Passed:
        """Micro-batch `part` through this stage."""
        asked = passed.asked
        first = self.number == 0
        received = receive((asked.arguments, dict(asked.keywords)) if first else passed.values, self.device)
        with draws.on(self.device), asked.modes():
            values = _apply(self.layers, received.values, first)
        self._under_way[part] = received, roots(values)
        return Passed(asked, values)

    def backward(self, part: int, gradients: Gradients) -> Gradients:
        """Adds micro-batch `part`'s gradients to the parameters'; returns those of what the stage was given."""
        received, begin = self._under_way.pop(part)
        go_back(begin, gradients)
        return received.gradients()


def _apply(layers: Sequence[nn.Module], values: Any, first: bool) -> Any:
    if first:
        arguments, keywords = values
        values = layers[0](*arguments, **keywords)
        layers = layers[1:]
    for layer in layers:
        values = layer(values)
    return values
