"""A model's trainable parameters as one flat float32 vector, and its gradients as another.

Parameters become views of the flat vector, so pushing and pulling need no gather. Gradients are views too; should
something have replaced a `.grad` (zero_grad(set_to_none=True) does), it is gathered and the view put back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.hooks import RemovableHandle

from asgd.errors import UserError
from asgd.worker.device.overlaps import refuse_overlaps


def layout_of(model: nn.Module) -> list[tuple[str, list[int]]]:
    """[(name, shape)] of the trainable parameters in flat order. Raises UserError on what cannot be trained."""
    layout: list[tuple[str, list[int]]] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if isinstance(parameter, UninitializedParameter):
            raise UserError(
                f"spec.entrypoint: the model's parameter {plain(name)} has no shape yet; run one batch through a lazy"
                " module before it is handed over"
            )
        if parameter.dtype != torch.float32:
            raise UserError(
                f"spec.entrypoint: the model's parameter {plain(name)} is"
                f" {str(parameter.dtype).removeprefix('torch.')}; allowed: float32 (keep the weights in float32"
                " and compute in less by torch.autocast)"
            )
        layout.append((plain(name), list(parameter.shape)))
    if not layout:
        raise UserError(
            "spec.entrypoint: the model has no parameter that requires a gradient; at least 1 is needed"
        )
    names = {name for name, _ in layout}
    state = [*model.named_parameters(), *model.named_buffers()]
    named = [(plain(name), tensor) for name, tensor in state]
    refuse_overlaps(
        [pair for pair in named if pair[0] in names], [pair for pair in named if pair[0] not in names]
    )
    return layout


def plain(name: str) -> str:
    """A tensor's name without the marks that torch.compile puts into it."""
    return name.replace("_orig_mod.", "")


def layout_hash(layout: list[tuple[str, list[int]]]) -> str:
    """Twelve hex digits that differ when any name, shape or order does."""
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:12]


class Flat:
    """`weights` and `grads`, (N,) float32 on `device`; the model's parameters are views from here on."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.layout = layout_of(model)
        self.device = device
        self.hash = layout_hash(self.layout)
        model.to(device)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.size = sum(p.numel() for p in self._parameters)
        self.weights = torch.empty(self.size, dtype=torch.float32, device=device)
        self.grads = torch.zeros(self.size, dtype=torch.float32, device=device)
        self._views: list[Tensor] = []
        self.spans: list[slice] = []
        """The elements of each parameter, in the order of `layout`."""
        self._hooks: list[RemovableHandle] = []
        offset = 0
        for parameter in self._parameters:
            span = slice(offset, offset + parameter.numel())
            view = self.weights[span].view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
            parameter.grad = self.grads[span].view(parameter.shape)
            self._views.append(parameter.grad)
            self.spans.append(span)
            offset = span.stop

    def zero(self) -> None:
        """All gradients are 0 and views again."""
        self.grads.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def scatter(self) -> None:
        """The model computes with `weights` from here on; nothing to do while its parameters are views of them."""

    def gather(self) -> Tensor:
        """The (N,) gradient; a parameter without one counts as 0."""
        for parameter, view in zip(self._parameters, self._views, strict=True):
            _settle(parameter, view)
        return self.grads

    def watch(self, accumulated: Callable[[int], None]) -> None:
        """From here on `accumulated(i)` is called when a backward pass has put parameter i's gradient into `grads`."""
        for number, (parameter, view) in enumerate(zip(self._parameters, self._views, strict=True)):

            def hook(given: Tensor, number: int = number, view: Tensor = view) -> None:
                _settle(given, view)
                accumulated(number)

            self._hooks.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]

    def unwatch(self) -> None:
        """Nobody is called any more."""
        while self._hooks:
            self._hooks.pop().remove()


def _settle(parameter: Tensor, view: Tensor) -> None:
    """The parameter's gradient is in `view`, and `view` is its gradient."""
    if parameter.grad is view:
        return
    if parameter.grad is None:
        view.zero_()
    else:
        gradient = parameter.grad
        # NB: an embedding with sparse=True has a sparse one.
        view.copy_(gradient if gradient.layout == torch.strided else gradient.to_dense())
    parameter.grad = view
