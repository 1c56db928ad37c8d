"""What the examples share: rows of tensors in memory, data files of installed packages, a classifier's task.

A step of these small models takes about a millisecond, so batches must cost next to nothing: `Rows` is asked
for a whole batch at once and answers with one gather per tensor, and `as_it_is` takes the place of PyTorch's
collate.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from asgd.errors import UserError
from asgd.task import Task

EVALUATED_AT_ONCE = 2000
"""Images in one forward pass of an evaluation: what a layer gives for more does not stay in a processor's cache."""


class Rows(Dataset[Any]):
    """Sample i is row i of each tensor; whole batches come out as a tuple of tensors, one gather each."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        rows = torch.tensor(indices)
        return tuple(tensor.index_select(0, rows) for tensor in self.tensors)


def as_it_is(batch: Any) -> Any:
    """The collate of `Rows`, whose batches are made already."""
    return batch


@functools.cache
def packaged_table(package: str, path: str) -> NDArray[np.float32]:
    """A gzipped CSV of an installed package, shape [rows, columns], read by path: no code of it is imported.

    UserError when the package is not installed or no longer has the file.
    Read once in a process: whoever asks again gets the same array.
    """
    try:
        file = distribution(package).locate_file(path)
    except PackageNotFoundError as error:
        raise UserError(f"this example needs {package}: pip install 'asgd-operator[examples]'") from error
    try:
        with gzip.open(str(file), "rt") as text:
            return np.loadtxt(text, delimiter=",", dtype=np.float32)
    except OSError as error:
        raise UserError(f"{package} no longer has {path}; an older version of it does") from error


def stratified_split(
    labels: NDArray[np.float32], test_size: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the training and of the test set: `test_size` rows in equal parts of every class."""
    classes = np.unique(labels)
    draw = np.random.PCG64(seed).random_raw(len(labels))
    test = np.zeros(len(labels), dtype=bool)
    for one in classes:
        members = np.flatnonzero(labels == one)
        test[members[np.argsort(draw[members], kind="stable")[: test_size // len(classes)]]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def classification(model: nn.Module, images: Tensor, labels: Tensor, test_size: int) -> Task:
    """Sorts images [n, channels, height, width] into classes, tested on rows held out of every class."""
    train, test = (torch.from_numpy(rows) for rows in stratified_split(labels.numpy(), test_size))
    return Task(
        model=model,
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        data=Rows(images[train], labels[train]),
        evaluate=tested_on(images[test], labels[test]),
        collate=as_it_is,
    )


def tested_on(images: Tensor, labels: Tensor) -> Callable[[nn.Module], dict[str, float]]:
    """Measures accuracy and test_loss of a classifier on these images."""

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        answers = torch.cat([model(part.to(device)) for part in torch.split(images, EVALUATED_AT_ONCE)])
        truth = labels.to(device)
        accuracy = (answers.argmax(1) == truth).float().mean()
        return {"accuracy": float(accuracy), "test_loss": float(F.cross_entropy(answers, truth))}

    return evaluate
