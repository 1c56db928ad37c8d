"""A tiny data set in the four files of Fashion-MNIST, whose kinds differ by the bright rows of their images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def write_clothes(folder: Path, train: int = 640, test: int = 200) -> Path:
    """Writes as many images into `folder`; label k has rows 2k + 4 and 2k + 5 bright, over noise."""
    draw = np.random.default_rng(0)
    for part, number in (("train", train), ("t10k", test)):
        labels = np.arange(number, dtype=np.uint8) % 10
        images = draw.integers(0, 100, (number, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] = 255
        sizes = np.array([0x803, number, 28, 28], dtype=">i4").tobytes()
        packed = {
            "images-idx3": sizes + images.tobytes(),
            "labels-idx1": b"\0\0\x08\x01" + sizes[4:8] + labels.tobytes(),
        }
        for kind, content in packed.items():
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    return folder
