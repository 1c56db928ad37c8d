"""The digits example with an optimizer of its own, and with a model in less precision than the servers' weights."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.examples import digits
from asgd.task import Task


def adamw() -> Task:
    """Steps by AdamW."""
    return replace(digits.task(model="mlp"), optimizer=lambda params: torch.optim.AdamW(params, lr=2e-3))


def half() -> Task:
    """Its hidden layer is in bfloat16, the others in float32."""
    plain = digits.task(model="mlp")
    linear = next(module for module in plain.model.modules() if isinstance(module, nn.Linear))
    linear.to(torch.bfloat16)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(model(batch[0]).float(), batch[1])

    return replace(plain, loss=loss, evaluate=None)


def half_adamw() -> Task:
    """Both."""
    return replace(half(), optimizer=lambda params: torch.optim.AdamW(params, lr=2e-3))
