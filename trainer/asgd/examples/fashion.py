"""A residual network with batch norm on all of Fashion-MNIST: 60,000 images to learn from, 10,000 to test on.

The four files are Debian's package dataset-fashion-mnist, or of the same names from anywhere else. Images stay bytes
until the model gets them, so that a process holds 55 MB of them, not 220.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.examples.parts import Rows, as_it_is, tested_on
from asgd.task import Task

FOLDER = "/usr/share/datasets/fashion-mnist"
PACKAGE = "dataset-fashion-mnist"
MEAN, DEVIATION = 0.2860, 0.3530
"""Of the training set's pixels, in 0..1."""


def task(width: int = 12, folder: str = FOLDER) -> Task:
    """Sorts ten kinds of clothes by a `ResNet` of `width` channels; metrics: accuracy and test_loss on the test set."""
    return Task(
        model=ResNet(width),
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        data=Rows(*images_and_labels("train", folder)),
        evaluate=tested_on(*images_and_labels("t10k", folder)),
        collate=as_it_is,
    )


def images_and_labels(part: str, folder: str = FOLDER) -> tuple[Tensor, Tensor]:
    """Bytes [n, 1, 28, 28] and integers [n] of `part`, "train" or "t10k". UserError when they are not there."""
    images = packed(f"{folder}/{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(images), torch.from_numpy(
        packed(f"{folder}/{part}-labels-idx1-ubyte.gz", 8)
    ).long()


@functools.cache
def packed(path: str, header: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The bytes of a gzipped IDX file behind its header. Read once in a process."""
    try:
        return np.frombuffer(bytearray(gzip.decompress(Path(path).read_bytes())), np.uint8)[header:]
    except OSError as error:
        raise UserError(
            f"this example needs Fashion-MNIST, and {path} can't be read ({error.strerror or error}): apt-get install"
            f" {PACKAGE}, or name the folder of its four files in spec.args.folder"
        ) from error


class ResNet(nn.Module):
    """Bytes [n, 1, 28, 28] to logits [n, 10]: a stem that halves the image, then blocks at 14x14 and 7x7."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        scaled = (images.float() / 255 - MEAN) / DEVIATION
        logits: Tensor = self.head(self.blocks(F.relu(self.stem(scaled))).mean((2, 3)))
        return logits


class Block(nn.Module):
    """Two convolutions with batch norm, added to their input, or to its projection where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        projection = [nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)]
        self.around = nn.Sequential(*projection) if stride > 1 or channels != width else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.inner(hidden) + self.around(hidden))
