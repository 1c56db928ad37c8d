"""Training scripts as people publish them, small and quick: the shape matters, not what is learnt.

A `loop` is a function of the `asgd` that the script would import and returns its losses; `Plain` of `alone.py` makes
plain PyTorch of it. What the usual loop can train is a `part`: it serves as a loop and as a `Task`.
"""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from tests.users.toys import Numbers, Symmetric, Texts, net, points, speaker, together

Loop = Callable[[Any], list[float]]
LOOPS: dict[str, Loop] = {}
PARTS: dict[str, Callable[[], Part]] = {}


@dataclass(frozen=True)
class Part:
    """A model, the loss of a batch, and data; `how` it is read, by DataLoader's names."""

    model: nn.Module
    loss: Callable[[Any], Tensor]
    data: Any
    epochs: int = 3
    how: dict[str, Any] = field(default_factory=dict)


def loop(function: Loop) -> Loop:
    """Adds it to the list."""
    LOOPS[function.__name__] = function
    return function


def part(function: Callable[[], Part]) -> Callable[[], Part]:
    """Adds it to both lists."""
    PARTS[function.__name__] = function
    LOOPS[function.__name__] = lambda asgd: trained(asgd, function())
    return function


def trained(asgd: Any, part: Part) -> list[float]:
    """The usual loop."""
    optimizer, losses = asgd.connect(part.model), []
    for _ in optimizer.until_stopped(range(part.epochs)):
        for batch in DataLoader(part.data, **{"batch_size": 8, "shuffle": True, **part.how}):
            optimizer.zero_grad()
            loss = part.loss(batch)
            loss.backward()
            optimizer.step(loss=loss)
            losses.append(loss.item())
    return losses


@part
def four_lines() -> Part:
    model = net()
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@loop
def gradients_are_dropped_by_hand(asgd: Any) -> list[float]:
    model, data = net(), points()
    optimizer, losses = asgd.connect(model), []
    for number, (x, y) in enumerate(DataLoader(data, 8)):
        if number % 2:
            model.zero_grad(set_to_none=True)
        else:
            for parameter in model.parameters():
                parameter.grad = None
        loss = F.cross_entropy(model(x), y)
        for parameter, gradient in zip(
            model.parameters(), torch.autograd.grad(loss, [*model.parameters()]), strict=True
        ):
            parameter.grad = gradient
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses


@loop
def closure(asgd: Any) -> list[float]:
    model, losses = net(), []
    optimizer = asgd.connect(model)
    for x, y in DataLoader(points(), 8):

        def evaluate(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        losses.append(optimizer.step(evaluate).item())
    return losses


@loop
def state_of_an_rnn_is_carried_over(asgd: Any) -> list[float]:
    """Truncated backpropagation through time over one long text; tied embeddings; the norm is clipped."""
    text = (torch.arange(4 * 61) * 7 % 9).view(4, 61)
    model, losses, state = speaker(), [], None
    optimizer = asgd.connect(model)
    for start in optimizer.until_stopped(range(0, 60, 5)):
        optimizer.zero_grad()
        logits, state = model(text[:, start : start + 5], state)
        state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(logits.flatten(0, 1), text[:, start + 1 : start + 6].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step(loss=loss, samples=4)
        losses.append(loss.item())
    return losses


@part
def a_stream_with_loader_processes() -> Part:
    model = net()
    how = {"shuffle": False, "num_workers": 1}
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), Numbers(), 1, how)


@loop
def persistent_loader_processes(asgd: Any) -> list[float]:
    model, losses = net(), []
    loader = DataLoader(points(), 8, shuffle=True, num_workers=1, persistent_workers=True, prefetch_factor=2)
    optimizer = asgd.connect(model)
    for _ in optimizer.until_stopped(range(2)):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step(loss=loss)
            losses.append(loss.item())
    return losses


@loop
def gradient_scaler(asgd: Any) -> list[float]:
    """The first scale is too large: its steps are skipped, as they are in plain PyTorch."""
    model, data, losses = net(), points(), []
    optimizer = asgd.connect(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=3)
    for x, y in DataLoader(data, 8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(4 * loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_value_(model.parameters(), 0.25)
        scaler.step(optimizer, loss=loss)
        scaler.update()
        losses.append(loss.item())
    return losses


@part
def half_precision() -> Part:
    model = net()

    def loss_of(batch: Any) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(model(batch[0]), batch[1])

    return Part(model, loss_of, points())


@part
def channels_last() -> Part:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fmt: skip
    data = TensorDataset(torch.randn(32, 3, 8, 8), torch.arange(32) % 3)
    return Part(
        model, lambda b: F.cross_entropy(model(b[0].to(memory_format=torch.channels_last)), b[1]), data, 2
    )


@part
def gradient_checkpointing() -> Part:
    """With dropout inside, whose mask must be the same in both passes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 6))
    model = nn.ModuleList([body, nn.Linear(6, 3)])

    def loss_of(batch: Any) -> Tensor:
        middle = checkpoint(body, batch[0], use_reentrant=False)
        return F.cross_entropy(model[1](middle), batch[1])

    return Part(model, loss_of, points())


@part
def weight_norm() -> Part:
    model = net()
    parametrizations.weight_norm(model[0])
    parametrizations.orthogonal(model[2])
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@part
def spectral_norm() -> Part:
    """A buffer that each forward pass changes."""
    model = net()
    parametrizations.spectral_norm(model[2])
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@part
def parametrized_weights() -> Part:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    parametrize.register_parametrization(model[0], "weight", Symmetric())

    def loss_of(batch: Any) -> Tensor:
        with parametrize.cached():
            return F.cross_entropy(model(batch[0]), batch[1])

    return Part(model, loss_of, points())


@loop
def averaged_weights(asgd: Any) -> list[float]:
    """An exponential moving average, evaluated as it goes and with batch norm's statistics of its own at the end."""
    torch.manual_seed(0)
    model, data, losses = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), points(), []
    optimizer = asgd.connect(model)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=False)
    for x, y in DataLoader(data, 8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step(loss=loss)
        averaged.update_parameters(model)
        with torch.no_grad():
            losses += [loss.item(), F.cross_entropy(averaged(x), y).item()]
    update_bn(DataLoader(data, 8), averaged)
    averaged.eval()
    with torch.no_grad():
        return [*losses, F.cross_entropy(averaged(data.tensors[0]), data.tensors[1]).item()]


@loop
def accumulation(asgd: Any) -> list[float]:
    model, losses = net(), []
    optimizer = asgd.connect(model)
    optimizer.zero_grad()
    for number, (x, y) in enumerate(DataLoader(points(), 4), 1):
        loss = F.cross_entropy(model(x), y) / 3
        loss.backward()
        losses.append(loss.item())
        if number % 3 == 0:
            optimizer.step(loss=loss * 3)
            optimizer.zero_grad()
    return losses


@part
def unlike_lengths_in_dicts() -> Part:
    torch.manual_seed(0)
    words, rnn, head = nn.Embedding(9, 5, padding_idx=0), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3)
    model = nn.ModuleDict({"words": words, "rnn": rnn, "head": head})

    def loss_of(batch: Any) -> Tensor:
        packed = pack_padded_sequence(
            words(batch["tokens"]), batch["lengths"], batch_first=True, enforce_sorted=False
        )
        return F.cross_entropy(head(rnn(packed)[1][0]), batch["labels"])

    return Part(model, loss_of, Texts(), how={"collate_fn": together})


@loop
def sparse_embedding(asgd: Any) -> list[float]:
    torch.manual_seed(0)
    model, losses = nn.EmbeddingBag(9, 3, mode="sum", sparse=True), []
    optimizer = asgd.connect(model)
    for number in range(8):
        model.zero_grad(set_to_none=bool(number % 2))
        loss = F.cross_entropy(model(torch.arange(12).view(4, 3) * (number + 1) % 9), torch.arange(4) % 3)
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses


@part
def compiled() -> Part:
    plain = net()
    model = torch.compile(plain, backend="aot_eager")
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points(), 2)


@part
def frozen_backbone() -> Part:
    """Transfer learning: the backbone in evaluation mode, a new head that alone is trained."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(backbone, nn.Linear(8, 3))
    backbone.requires_grad_(False)
    model.train()
    backbone.eval()
    return Part(model, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), points())


@part
def weighted_classes_and_smooth_labels() -> Part:
    model = net()
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)
    return Part(model, lambda batch: criterion(model(batch[0]), batch[1]), points())


@loop
def evaluation_in_between(asgd: Any) -> list[float]:
    """Evaluates after each epoch in evaluation mode, keeps the best weights and writes a table."""
    torch.manual_seed(0)
    model, data = (
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3)),
        points(),
    )
    optimizer, losses, best = asgd.connect(model), [], (float("inf"), model.state_dict())
    table = io.StringIO()
    writer = csv.DictWriter(table, ["epoch", "loss", "test_loss", "rate"])
    for epoch in optimizer.until_stopped(range(3)):
        model.train()
        for x, y in DataLoader(data, 8, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step(loss=loss)
            losses.append(loss.item())
        model.eval()
        with torch.inference_mode():
            test = F.cross_entropy(model(data.tensors[0]), data.tensors[1]).item()
        best = min(best, (test, copy.deepcopy(model.state_dict())), key=lambda pair: pair[0])
        optimizer.report(test_loss=test)
        rate = optimizer.param_groups[0]["lr"]
        writer.writerow({"epoch": epoch, "loss": losses[-1], "test_loss": test, "rate": rate})
        losses.append(test)
    again = copy.deepcopy(model)
    again.load_state_dict(best[1])
    again.eval()
    with torch.no_grad():
        assert F.cross_entropy(again(data.tensors[0]), data.tensors[1]).item() == best[0]
    return [*losses, *(float(word) for word in table.getvalue().split()[-1].split(","))]


@part
def penalties_and_hooks() -> Part:
    """A gradient penalty (a second derivative), L2 by hand, and a hook on a gradient."""
    model = net()
    model[0].weight.register_hook(lambda gradient: gradient * 0.5)

    def loss_of(batch: Any) -> Tensor:
        x = batch[0].requires_grad_(True)
        loss = F.cross_entropy(model(x), batch[1])
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        return loss + 0.1 * slope.square().sum() + 1e-3 * sum(p.square().sum() for p in model.parameters())

    return Part(model, loss_of, points())
