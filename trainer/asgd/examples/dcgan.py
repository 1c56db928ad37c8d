"""A small DCGAN (Radford, Metz and Chintala 2016) that draws clothes, after Fashion-MNIST's 60,000 training images.

Generator and critic are two models with an optimizer each. How good the drawings are is told by a Fréchet distance: as
FID's, but of images shrunk to 7x7, for which no network from elsewhere is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.examples.fashion import FOLDER, images_and_labels

NOISE = 32


def images(part: str, folder: str = FOLDER) -> Tensor:
    """Images of `part`, "train" or "t10k", as the generator draws them: floats in -1..1 of shape [n, 1, 28, 28]."""
    return images_and_labels(part, folder)[0].float() / 127.5 - 1


def generator(width: int = 16) -> nn.Module:
    """Noise [n, NOISE] to images [n, 1, 28, 28] in -1..1."""
    layers = nn.Sequential(
        nn.Unflatten(1, (NOISE, 1, 1)),
        nn.ConvTranspose2d(NOISE, 2 * width, 7, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return started(layers)


def critic(width: int = 16) -> nn.Module:
    """Images to logits [n]: above 0 where it takes them for real."""
    layers = nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 7), nn.Flatten(0),
    )  # fmt: skip
    return started(layers)


def started(model: nn.Module) -> nn.Module:
    """The paper's initial weights: of standard deviation 0.02, around 1 in batch norm."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return model


def taken_for(real: bool, logits: Tensor) -> Tensor:
    """The loss of a critic's answers where the images should be taken for real, or for drawn ones."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


@torch.no_grad()
def drawn(generator: nn.Module, number: int) -> Tensor:
    """As many drawings, always of the same noise."""
    noise = torch.randn(number, NOISE, generator=torch.Generator().manual_seed(0))
    return torch.cat([generator(part) for part in torch.split(noise, 500)])


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The Fréchet distance between two sets of images, as normal distributions of their 49 means over 4x4 pixels."""
    (mean, spread), (other_mean, other_spread) = (_normal(one) for one in (ours, theirs))
    root = _root(spread)
    between = torch.trace(spread + other_spread - 2 * _root(root @ other_spread @ root))
    return float((mean - other_mean).square().sum() + between)


def save_grid(path: str, pictures: Tensor, columns: int = 10) -> None:
    """Writes them as one PNG, row by row."""
    from matplotlib.image import imsave

    rows: Iterable[Tensor] = torch.split(pictures[:, 0], columns)
    imsave(path, torch.cat([torch.cat(list(row), 1) for row in rows]).numpy(), cmap="gray_r", vmin=-1, vmax=1)


def _normal(pictures: Tensor) -> tuple[Tensor, Tensor]:
    small = F.avg_pool2d(pictures, 4).flatten(1).double()
    return small.mean(0), small.T.cov()


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return found
