"""Values on their way between stages: cut off from the graph behind them, on the next device, ready for a gradient.

What a stage gives is a tensor, or tuples, lists, dicts and dataclasses of tensors. Those that require gradients become
leaves of the next stage's graph; their gradients go back the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asgd.worker.reading.nested import Array, map_arrays

Gradients = Sequence[Tensor | None]
"""One for each tensor that requires a gradient, depth first; None for one that nothing depended on."""


@dataclass(frozen=True)
class Received:
    """What has arrived at a stage, and the leaves whose gradients are to go back."""

    values: Any
    leaves: list[Tensor]

    def gradients(self) -> Gradients:
        """After a backward pass: what to send back."""
        return [leaf.grad for leaf in self.leaves]


def receive(values: Any, device: torch.device) -> Received:
    """`values` of the stage before, on `device`."""
    leaves: list[Tensor] = []

    def enter(array: Array) -> Array:
        if not isinstance(array, Tensor):
            return array
        if not array.requires_grad:
            return array.to(device, non_blocking=True)
        leaf = array.detach().requires_grad_()
        leaves.append(leaf)
        # NB: never the leaf itself, so that a stage may begin with an in-place layer, as it may inside a model.
        return leaf.to(device, non_blocking=True, copy=True)

    return Received(map_arrays(values, enter), leaves)


def roots(values: Any) -> list[Tensor]:
    """Where the backward pass of the stage that gave `values` begins."""
    found: list[Tensor] = []

    def note(array: Array) -> Array:
        if isinstance(array, Tensor) and array.requires_grad:
            found.append(array)
        return array

    map_arrays(values, note)
    return found


def go_back(begin: Sequence[Tensor], gradients: Gradients) -> None:
    """Backward from `begin` with the gradients that came back."""
    pairs = [
        (root, gradient) for root, gradient in zip(begin, gradients, strict=True) if gradient is not None
    ]
    if pairs:
        torch.autograd.backward([root for root, _ in pairs], [gradient for _, gradient in pairs])
