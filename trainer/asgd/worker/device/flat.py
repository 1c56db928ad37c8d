"""A model's trainable parameters as one flat float32 vector, and its gradients as another.

Parameters become views of the flat vector, so pushing and pulling need no gather. Gradients are views too; should
something have replaced a `.grad` (zero_grad(set_to_none=True) does), it is gathered and the view put back.
Parameters in bfloat16 or float16 can't be views: the vector is their float32 master copy, `scatter` rounds it into the
model, and `gather` takes their gradients into float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.hooks import RemovableHandle

from asgd.errors import UserError
from asgd.worker.device.overlaps import refuse_overlaps

KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
"""What trained parameters may be."""


def trainable(model: nn.Module, unfreezes: Collection[str] = ()) -> list[tuple[str, nn.Parameter]]:
    """(name, parameter) of what is trained, in flat order; `unfreezes`: names that are although they are frozen."""
    named = [(plain(name), parameter) for name, parameter in model.named_parameters()]
    return [(name, parameter) for name, parameter in named if parameter.requires_grad or name in unfreezes]


def layout_of(model: nn.Module, unfreezes: Collection[str] = ()) -> list[tuple[str, list[int]]]:
    """[(name, shape)] of the trainable parameters in flat order. Raises UserError on what cannot be trained."""
    layout: list[tuple[str, list[int]]] = []
    for name, parameter in trainable(model, unfreezes):
        if isinstance(parameter, UninitializedParameter):
            raise UserError(
                f"spec.entrypoint: the model's parameter {name} has no shape yet; run one batch through a lazy"
                " module before it is handed over"
            )
        if parameter.dtype not in KINDS:
            kind = str(parameter.dtype).removeprefix("torch.")
            way = "model.float() makes it float32" if kind == "float64" else "freeze it, or convert the model"
            raise UserError(
                f"spec.entrypoint: the model's parameter {name} is {kind}; allowed: {', '.join(KINDS.values())}"
                f" ({way})"
            )
        layout.append((name, list(parameter.shape)))
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


def kinds(model: nn.Module, unfreezes: Collection[str] = ()) -> dict[str, int]:
    """{type: trained parameters (single numbers) of that type}, in the order in which they first appear."""
    found: dict[str, int] = {}
    for _, parameter in trainable(model, unfreezes):
        kind = KINDS.get(parameter.dtype, str(parameter.dtype))
        found[kind] = found.get(kind, 0) + parameter.numel()
    return found


def plain(name: str) -> str:
    """A tensor's name without the marks that torch.compile puts into it."""
    return name.replace("_orig_mod.", "")


def layout_hash(layout: list[tuple[str, list[int]]]) -> str:
    """Twelve hex digits that differ when any name, shape or order does."""
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:12]


class Flat:
    """`weights` and `grads`, (N,) float32 on `device`; the model's float32 parameters are views from here on.

    `unfreezes`: names of frozen parameters that belong to them; their gradients are 0 while they are frozen.
    """

    def __init__(self, model: nn.Module, device: torch.device, unfreezes: Collection[str] = ()) -> None:
        self.layout = layout_of(model, unfreezes)
        self.device = device
        self.hash = layout_hash(self.layout)
        model.to(device)
        self.parameters = [parameter for _, parameter in trainable(model, unfreezes)]
        self.size = sum(p.numel() for p in self.parameters)
        self.weights = torch.empty(self.size, dtype=torch.float32, device=device)
        self.grads = torch.zeros(self.size, dtype=torch.float32, device=device)
        self._views: list[Tensor] = []
        self.spans: list[slice] = []
        """The elements of each parameter, in the order of `layout`."""
        self._casts: list[tuple[nn.Parameter, Tensor]] = []
        """Parameters that are no views, each with its part of `weights`."""
        self._hooks: list[RemovableHandle] = []
        offset = 0
        for parameter in self.parameters:
            span = slice(offset, offset + parameter.numel())
            view = self.weights[span].view(parameter.shape)
            view.copy_(parameter.data)
            self._views.append(self.grads[span].view(parameter.shape))
            if parameter.dtype == torch.float32:
                parameter.data, parameter.grad = view, self._views[-1]
            else:
                parameter.grad = None
                self._casts.append((parameter, view))
            self.spans.append(span)
            offset = span.stop

    def zero(self, own: Share | None = None) -> None:
        """All gradients are 0 and views again; or those of a part."""
        numbers = own.numbers if own else slice(None)
        self.grads[own.span if own else numbers].zero_()
        for parameter, view in zip(self.parameters[numbers], self._views[numbers], strict=True):
            parameter.grad = view if parameter.dtype == torch.float32 else None

    @property
    def rounded(self) -> bool:
        """Some parameters are less precise than `weights`."""
        return bool(self._casts)

    def load(self, weights: Tensor) -> None:
        """The model computes with these (N,) from here on."""
        self.weights.copy_(weights)
        self.scatter()

    def scatter(self) -> None:
        """The model computes with `weights` from here on; nothing to do for parameters that are views of them."""
        for parameter, master in self._casts:
            parameter.data.copy_(master)

    def absorb(self) -> None:
        """What others have written into parameters that are no views is in `weights`; the rest keeps its precision."""
        for parameter, master in self._casts:
            written = parameter.data != master.to(parameter.dtype)
            if bool(written.any()):
                master[written] = parameter.data[written].float()

    def gather(self) -> Tensor:
        """The (N,) gradient; a parameter without one counts as 0."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            _settle(parameter, view)
        return self.grads

    def watch(self, accumulated: Callable[[int], None]) -> None:
        """From here on `accumulated(i)` is called when a backward pass has put parameter i's gradient into `grads`."""
        for number, (parameter, view) in enumerate(zip(self.parameters, self._views, strict=True)):

            def hook(given: Tensor, number: int = number, view: Tensor = view) -> None:
                _settle(given, view)
                accumulated(number)

            self._hooks.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]

    def unwatch(self) -> None:
        """Nobody is called any more."""
        while self._hooks:
            self._hooks.pop().remove()


class Share:
    """Those of a flat vector's parameters whose names begin with `name`: one model of several."""

    def __init__(self, flat: Flat, name: str) -> None:
        places = [place for place, (own, _) in enumerate(flat.layout) if own.startswith(f"{name}.")]
        first, stop = (places[0], places[-1] + 1) if places else (0, 0)
        self.numbers = slice(first, stop)
        """Their places among the flat vector's parameters."""
        self.parameters, self.layout = flat.parameters[self.numbers], flat.layout[self.numbers]
        spans = flat.spans[self.numbers]
        self.span = slice(spans[0].start, spans[-1].stop) if spans else slice(0, 0)

    @property
    def size(self) -> int:
        """Elements."""
        return int(self.span.stop) - int(self.span.start)


def _settle(parameter: Tensor, view: Tensor) -> None:
    """The parameter's gradient is in `view`, and `view` is its gradient."""
    if parameter.grad is view:
        return
    cast = parameter.dtype != torch.float32
    if parameter.grad is None:
        view.zero_()
    else:
        gradient = parameter.grad
        # NB: an embedding with sparse=True has a sparse one.
        view.copy_(gradient if gradient.layout == torch.strided else gradient.to_dense())
    if not cast:
        parameter.grad = view
