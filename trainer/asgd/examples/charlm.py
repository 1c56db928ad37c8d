"""A small transformer that learns to write like Python's language reference, character by character.

Every Python carries the text as `pydoc_data.topics`; each version words it a little differently. What can be
is pinned: which topics are learnt and which are held out (none contains another), and the alphabet, so that
the model's parameters are the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.examples.parts import Rows, as_it_is
from asgd.task import Task

ALPHABET = "\n" + "".join(chr(code) for code in range(32, 127))
LEARNT = (
    *("calls", "comparisons", "compound", "debugger", "formatstrings", "operator-summary"),
    *("specialnames", "string-methods", "strings", "types", "typesmapping", "typesseq"),
)
HELD_OUT = ("assignment", "execmodel", "import")
_PLAIN = str.maketrans("“”‘’–—", "\"\"''--")


def task(context: int = 64, width: int = 64, layers: int = 2) -> Task:
    """Predicts each next character from `context` at most; metrics: bitsPerCharacter, accuracy and test_loss."""
    learnt, held_out = windows(encode(topics(LEARNT)), context), windows(encode(topics(HELD_OUT)), context)

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        text = held_out.to(next(model.parameters()).device)
        answers, truth = model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten()
        loss = float(F.cross_entropy(answers, truth))
        accuracy = float((answers.argmax(1) == truth).float().mean())
        return {"bitsPerCharacter": loss / math.log(2), "accuracy": accuracy, "test_loss": loss}

    model = Transformer(context, width, layers)
    return Task(model=model, loss=next_character, data=Rows(learnt), evaluate=evaluate, collate=as_it_is)


def topics(names: Iterable[str]) -> str:
    """The topics' text, those that this Python has."""
    try:
        texts: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise UserError(
            "this Python was installed without pydoc_data, whose text the example learns"
        ) from error
    return "".join(texts[name] for name in names if name in texts)


def encode(text: str) -> Tensor:
    """Characters as numbers, shape [characters]: positions in ALPHABET, all that it lacks as '?'."""
    codes = {character: code for code, character in enumerate(ALPHABET)}
    return torch.tensor([codes.get(character, codes["?"]) for character in text.translate(_PLAIN)])


def windows(text: Tensor, context: int) -> Tensor:
    """Shape [windows, context + 1]: each begins with the last character of the one before."""
    return text.unfold(0, context + 1, context).contiguous()


def next_character(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    """Mean cross entropy in nats of characters 1.. of each window, given those before them."""
    return F.cross_entropy(model(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())


class Transformer(nn.Module):
    """Pre-norm decoder: characters [n, length <= context] to logits [n, length, alphabet]."""

    def __init__(self, context: int, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(ALPHABET), width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(ALPHABET))
        nn.init.normal_(self.characters.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.characters(text) + self.positions[: text.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each on the normed input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attend(self.attention_norm(hidden))
        added: Tensor = self.perceptron(hidden)
        return hidden + added

    def attend(self, hidden: Tensor) -> Tensor:
        n, length, width = hidden.shape
        parts = self.attention_in(hidden).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(n, length, width))
        return projected
