"""Embedding tables of which a batch touches a few rows: their gradients and weights travel whole, and that is said."""

from __future__ import annotations

from torch import nn

from asgd.report.units import size as readable
from asgd.worker.device.flat import plain

LARGE_BYTES = 1 << 26
"""Smaller tables are not worth a word, unless the user asked for sparse gradients."""


def warnings(model: nn.Module) -> list[str]:
    """One sentence for each trained table that is sparse or large; it names the table and its bytes."""
    return [
        _sentence(f"{plain(name)}.weight" if name else "weight", module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        and module.weight.requires_grad
        and _matters(module)
    ]


def _matters(module: nn.Embedding | nn.EmbeddingBag) -> bool:
    return module.sparse or 4 * module.weight.numel() >= LARGE_BYTES


def _sentence(name: str, module: nn.Embedding | nn.EmbeddingBag) -> str:
    kind = "a sparse embedding" if module.sparse else "an embedding"
    rows, width = module.weight.shape
    return (
        f"{name} is {kind} of {rows:,} x {width:,}: a batch touches few of its rows, and yet all of it,"
        f" {readable(4 * module.weight.numel())} in fp32, travels with every push and again with every pull"
    )
