"""Handwritten digits, 8x8 pixels: 1,437 to learn from and 360 to test on, from scikit-learn's package.

`cnn` is the job of `make run`. `mlp` is the smallest real problem there is (4,810 parameters), on which
asynchronous SGD was measured beforehand in simulation: a test compares. Neither has batch norm, whose running
means would lag behind the weights.
"""

from __future__ import annotations

import torch
from torch import nn

from asgd.errors import UserError
from asgd.examples.parts import classification, packaged_table
from asgd.task import Task


def task(model: str = "cnn") -> Task:
    """Sorts digits by `model`, "cnn" or "mlp"; metrics: accuracy and test_loss on the test set."""
    models = {"cnn": cnn, "mlp": mlp}
    if model not in models:
        raise UserError(f"spec.args.model is {model!r}; allowed are {', '.join(models)}")
    table = torch.from_numpy(packaged_table("scikit-learn", "sklearn/datasets/data/digits.csv.gz"))
    images = (table[:, :64] / 16).view(-1, 1, 8, 8)
    return classification(models[model](), images, table[:, 64].long(), test_size=360)


def cnn() -> nn.Module:
    """Three convolutions with group norm, 38,482 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.GroupNorm(4, 64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 56),
        nn.ReLU(),
        nn.Linear(56, 10),
    )


def mlp() -> nn.Module:
    """64-64-10 with ReLU: weights from He's normal distribution, biases zero."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return layers
