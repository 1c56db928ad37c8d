"""The examples on Fashion-MNIST: whoever lacks the data is told which package has them, and models are as described."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asgd.errors import UserError
from asgd.examples import fashion
from tests.clothes import write_clothes


def test_images_stay_bytes_and_labels_are_theirs(tmp_path: Path) -> None:
    images, labels = fashion.images_and_labels("train", str(write_clothes(tmp_path, train=30)))
    assert images.shape == (30, 1, 28, 28) and images.dtype == torch.uint8
    assert labels.tolist() == [*range(10)] * 3
    assert images[3, 0, 10:12].min() == 255 and images[3, 0, 12:].max() < 255


def test_without_the_data_one_sentence_names_the_debian_package_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        fashion.task(folder=str(tmp_path))
    assert str(refusal.value) == (
        f"this example needs Fashion-MNIST, and {tmp_path}/train-images-idx3-ubyte.gz can't be read (No such file or"
        " directory): apt-get install dataset-fashion-mnist, or name the folder of its four files in spec.args.folder"
    )


def test_a_file_that_is_damaged_is_told_as_one(tmp_path: Path) -> None:
    write_clothes(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz can't be read \(Not a gzipped file"):
        fashion.task(folder=str(tmp_path))


def test_the_residual_network_learns_kinds_and_has_batch_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = fashion.task(folder=str(write_clothes(tmp_path)))
    model = task.model
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_230
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) == 6
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(40):
        optimizer.zero_grad()
        rows = list(range(step % 10 * 64, step % 10 * 64 + 64))
        task.loss(model, task.data.__getitems__(rows)).backward()
        optimizer.step()
    model.eval()
    assert task.evaluate and task.evaluate(model)["accuracy"] > 0.9
