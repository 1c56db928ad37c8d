"""More scripts for the list of `loops.py`: what else people do to a model while it trains."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.utils.data import DataLoader

from tests.users.loops import Part, loop, part
from tests.users.toys import net, points


@part
def a_transformer_with_dropout() -> Part:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(6, 3))
    return Part(model, lambda batch: F.cross_entropy(model(batch[0][:, None])[:, 0], batch[1]), points(), 2)


@part
def norms_of_older_torch() -> Part:
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(model[0])
    nn.utils.spectral_norm(model[2])
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@part
def a_wrapped_model_with_a_scalar_and_an_empty_parameter() -> Part:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = net()
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.empty = nn.Parameter(torch.ones(0))

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.inside(x) * self.scale
            return answer

    model = nn.DataParallel(Scaled())
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@loop
def saved_in_the_middle_in_every_way(asgd: Any) -> list[float]:
    """What was saved is the weights of that moment, whole, and does not change with them."""
    model, losses = net(), []
    optimizer = asgd.connect(model)
    with TemporaryDirectory() as folder:
        for x, y in DataLoader(points(), 8):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step(loss=loss)
            save_file(model.state_dict(), Path(folder) / "model.safetensors")
            torch.save(model.state_dict(), part_of := io.BytesIO())
            part_of.seek(0)
            again = net()
            again.load_state_dict(torch.load(part_of))
            losses += [loss.item(), F.cross_entropy(again(x), y).item()]
        again.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return [*losses, F.cross_entropy(again(x), y).item()]


@loop
def gradients_by_torch_func(asgd: Any) -> list[float]:
    model, losses = net(), []
    optimizer = asgd.connect(model)

    def loss_of(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x,)), y)

    for x, y in DataLoader(points(), 8):
        named = dict(model.named_parameters())
        gradients, loss = grad_and_value(loss_of)({n: p.detach() for n, p in named.items()}, x, y)
        for name, parameter in named.items():
            parameter.grad = gradients[name]
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses
