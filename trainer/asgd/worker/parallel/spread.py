"""The flat vector of a model whose stages are on several devices: it is in host memory, parameters are on the devices.

So no device holds more than its own stages, and a gradient goes from each device straight into the vector that is
pushed. Stages that all share one device need none of this: their parameters are views of a plain `Flat`. That copies
are right is proved with the CPU in the part of the other devices; on GPUs this has never run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.worker.device.flat import Flat, Share
from asgd.worker.parallel.stage import Stage

_HOST = torch.device("cpu")


class SpreadFlat(Flat):
    """`weights` and `grads` on the host; `scatter` copies weights to the stages, `gather` their gradients back."""

    def __init__(self, model: nn.Module, stages: Sequence[Stage]) -> None:
        super().__init__(model, _HOST)
        if self.rounded:
            raise UserError(
                "spec.workers.stages: stages on several devices train float32 parameters only, and not all of the"
                " model's are; allowed: one device, or model.float() with torch.autocast in the loss"
            )
        if any(stage.device.type == "cuda" for stage in stages):
            self.weights, self.grads = self.weights.pin_memory(), self.grads.pin_memory()
        self._pieces = [self._move(stage) for stage in stages]

    def _move(self, stage: Stage) -> _Piece:
        """Puts a stage's parameters and buffers on its device."""
        offsets, start = {}, 0
        for number, parameter in enumerate(self.parameters):
            offsets[id(parameter)] = number, start
            start += parameter.numel()
        own = {id(p): p for layer in stage.layers for p in layer.parameters() if p.requires_grad}
        piece = _Piece(sum(p.numel() for p in own.values()), stage.device)
        for layer in stage.layers:
            for parameter in layer.parameters():
                parameter.grad = None
            layer.to(stage.device)
        for key, parameter in own.items():
            number, offset = offsets[key]
            parameter.data, parameter.grad = piece.take(parameter, offset)
            self._views[number] = parameter.grad
        return piece

    def zero(self, own: Share | None = None) -> None:
        assert own is None, "models of their own steps are whole on one device"
        super().zero()
        for piece in self._pieces:
            piece.grads.zero_()

    def scatter(self) -> None:
        for piece in self._pieces:
            for host, here in piece.spans:
                piece.weights[here].copy_(self.weights[host], non_blocking=True)

    def gather(self) -> Tensor:
        super().gather()
        for piece in self._pieces:
            for host, here in piece.spans:
                self.grads[host].copy_(piece.grads[here], non_blocking=True)
        for piece in self._pieces:
            if piece.device.type == "cuda":
                torch.cuda.current_stream(piece.device).synchronize()
        return self.grads


class _Piece:
    """One stage's parameters: `weights` and `grads` on `device`, and which span of the whole vector each part is."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.device = device
        self.weights = torch.empty(size, dtype=torch.float32, device=device)
        self.grads = torch.zeros(size, dtype=torch.float32, device=device)
        self.spans: list[tuple[slice, slice]] = []
        self._filled = 0

    def take(self, parameter: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        """Views for the data and gradient of a parameter that lies at `offset` of the whole vector."""
        here = slice(self._filled, self._filled + parameter.numel())
        self._filled = here.stop
        self._note(slice(offset, offset + parameter.numel()), here)
        weights = self.weights[here].view(parameter.shape)
        weights.copy_(parameter.data)
        return weights, self.grads[here].view(parameter.shape)

    def _note(self, host: slice, here: slice) -> None:
        if self.spans and self.spans[-1][0].stop == host.start:
            before = self.spans.pop()
            host, here = slice(before[0].start, host.stop), slice(before[1].start, here.stop)
        self.spans.append((host, here))
