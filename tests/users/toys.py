"""Models and data of the training scripts in `loops.py`: as small as can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, IterableDataset, TensorDataset


def points(samples: int = 48, width: int = 6) -> TensorDataset:
    """Three classes of points."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, width, generator=generator)
    return TensorDataset(x, x[:, :3].argmax(1))


def net(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 3))


class Speaker(nn.Module):
    """Embedding, LSTM and a head that shares the embedding's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 7)
        self.lstm = nn.LSTM(7, 7, batch_first=True)
        self.head = nn.Linear(7, 9, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        out, state = self.lstm(self.words(tokens), state)
        return self.head(out), state


def speaker() -> Speaker:
    torch.manual_seed(0)
    return Speaker()


class Numbers(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(5)
        for _ in range(64):
            x = torch.randn(6, generator=generator)
            yield x, x[:3].argmax()


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).T


class Texts(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"tokens": torch.arange(2 + index % 5) % 9, "label": index % 5 // 2, "name": f"text-{index}"}


def together(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Texts of unlike lengths, padded."""
    return {
        "tokens": pad_sequence([s["tokens"] for s in samples], batch_first=True, padding_value=0),
        "lengths": torch.tensor([len(s["tokens"]) for s in samples]),
        "labels": torch.tensor([s["label"] for s in samples]),
        "names": [s["name"] for s in samples],
    }
