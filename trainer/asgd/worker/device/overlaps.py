"""Finds parameters that share memory without being one parameter, as `nn.Parameter(other.weight.data)` does.

In plain PyTorch each of them moves the other. Here parameters become views of one flat vector, where each would have
memory of its own: the tie would be gone without a word. So they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from asgd.errors import UserError


def refuse_overlaps(trained: Iterable[tuple[str, Tensor]], others: Iterable[tuple[str, Tensor]]) -> None:
    """Raises UserError when one of `trained` holds an element that another of them, or of `others`, holds too."""
    trained = [*trained]
    named = [*trained, *others]
    order = {name: place for place, (name, _) in enumerate(named)}
    spans = sorted(_spans(named), key=lambda span: span[:2])
    for place, (_, stop, name, tensor) in enumerate(spans):
        for start, _, other_name, other in spans[place + 1 :]:
            if start >= stop:
                break
            first, second = sorted((name, other_name), key=order.__getitem__)
            if order[first] < len(trained) and _meet(tensor, other):
                raise UserError(
                    f"spec.entrypoint: the model's {first} and {second} share memory without being one parameter;"
                    f" allowed: the same nn.Parameter under both names, or memory of their own (.clone())"
                )


def _spans(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[int, int, str, Tensor]]:
    """(first byte, byte after the last, name, tensor) of those that have memory."""
    for name, tensor in named:
        if tensor.numel() and tensor.layout == torch.strided and tensor.device.type != "meta":
            last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
            start = tensor.data_ptr()
            yield start, start + (last + 1) * tensor.element_size(), name, tensor


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether they have an element in common; columns of one matrix may lie between each other and have none."""
    if one.dtype != other.dtype:
        return True
    base = one.untyped_storage().nbytes() // one.element_size()
    taken = torch.zeros(base, dtype=torch.bool)
    taken.as_strided(one.shape, one.stride(), one.storage_offset()).fill_(True)
    return bool(taken.as_strided(other.shape, other.stride(), other.storage_offset()).any())
