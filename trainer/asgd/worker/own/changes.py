"""Notices what a script does to a connected model beside its steps: weights written, parameters replaced or unfrozen.

Autograd's version counters see what is written into a parameter, but not what is written through `.data`; a sample of
the weights sees that. What a change means depends on the strategy (`WorkerStrategy.keeps_changes`) and is decided by
whoever asks here.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.worker.device.flat import Flat, plain

SAMPLE = 4096
"""So many weights are compared bit by bit after each step; of a parameter that was written in place, all where the
servers' own are at hand."""


class Changes:
    """Watches `model`, whose trained parameters `flat` holds."""

    def __init__(self, model: nn.Module, flat: Flat) -> None:
        self._model, self._flat = model, flat
        self._names = [name for name, _ in flat.layout]
        self._every = {plain(name): parameter for name, parameter in model.named_parameters()}
        held = {id(parameter) for parameter in flat.parameters}
        self._frozen = [(name, p) for name, p in self._every.items() if id(p) not in held]
        self._began_frozen = {id(p) for p in flat.parameters if not p.requires_grad}
        self._homes = [parameter.data_ptr() for parameter in flat.parameters]
        self._kinds = [parameter.dtype for parameter in flat.parameters]
        stride = -(-flat.size // SAMPLE)
        self._places = torch.arange(0, flat.size, stride, device=flat.device)
        self.settle()

    def settle(self) -> None:
        """What the weights are now is meant."""
        self._flat.absorb()
        self._versions = [parameter._version for parameter in self._flat.parameters]
        self._sample = self._bits()

    def _bits(self) -> Tensor:
        # NB: bit by bit, for nan is not equal to itself.
        return self._flat.weights[self._places].view(torch.int32)

    def written(self, servers: Tensor | None = None) -> str:
        """The name of a parameter whose values are other ones than at `settle`; '' for none.

        `servers`: the (N,) weights as they were then, where somebody has kept them.
        """
        self._bring_home()
        differs = (self._bits() != self._sample).nonzero()
        if len(differs):
            return self._name_at(int(self._places[int(differs[0])]))
        for number, parameter in enumerate(self._flat.parameters):
            if parameter._version != self._versions[number] and self._differs(number, servers):
                return self._names[number]
        return ""

    def _name_at(self, place: int) -> str:
        return next(
            name for name, span in zip(self._names, self._flat.spans, strict=True) if place < span.stop
        )

    def _differs(self, number: int, servers: Tensor | None) -> bool:
        if servers is None:
            return False
        span = self._flat.spans[number]
        now, then = self._flat.weights[span].view(torch.int32), servers[span].view(torch.int32)
        return not torch.equal(now, then)

    def _bring_home(self) -> None:
        """A parameter whose memory the script has exchanged (`p.data = ...`) lies in the flat vector again."""
        flat = self._flat
        for number, parameter in enumerate(flat.parameters):
            if parameter.data_ptr() == self._homes[number]:
                continue
            view = flat.weights[flat.spans[number]]
            if parameter.device != flat.device or parameter.dtype != self._kinds[number]:
                what = f"{str(parameter.dtype).removeprefix('torch.')} on {parameter.device}"
                raise _before(f"parameter {self._names[number]} is {what} now", "move and convert the model")
            if parameter.numel() != view.numel():
                raise _before(f"parameter {self._names[number]} has another shape now", "build the model")
            if parameter.dtype != torch.float32:
                self._homes[number] = parameter.data_ptr()
                continue
            view = view.view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
        flat.absorb()

    def check_gradients(self) -> None:
        """Raises UserError when a parameter has got a gradient that nobody trains."""
        for name, parameter in self._frozen:
            if parameter.requires_grad and parameter.grad is not None:
                top = name.rpartition(".")[0] or name
                raise UserError(
                    f"asgd.connect(model): parameter {name} was frozen then and has got a gradient now, which nobody"
                    f' trains; name what is unfrozen later: asgd.connect(model, unfreezes=["{top}*"])'
                )

    def check_structure(self) -> None:
        """Raises UserError when the model's parameters are no longer those that were connected."""
        now = {plain(name): parameter for name, parameter in self._model.named_parameters()}
        if len(now) == len(self._every) and all(now.get(name) is p for name, p in self._every.items()):
            return
        for name, parameter in self._every.items():
            if now.get(name) is not parameter:
                what = "is another tensor now" if name in now else "is in the model no more"
                raise _before(f"parameter {name} {what}", "build, prune and load (assign=True) the model")
        new = next(name for name in now if name not in self._every)
        raise _before(f"parameter {new} has come into the model", "build the model")

    def resting(self, among: Collection[int]) -> str:
        """The name of a parameter that was trained and is frozen now; '' for none. `among`: ids of parameters."""
        for name, parameter in zip(self._names, self._flat.parameters, strict=True):
            looked = id(parameter) in among and id(parameter) not in self._began_frozen
            if looked and not parameter.requires_grad:
                return name
        return ""


def _before(what: str, do: str) -> UserError:
    return UserError(
        f"asgd.connect(model): {what}, and its values would be lost; {do} before asgd.connect(model)"
    )
