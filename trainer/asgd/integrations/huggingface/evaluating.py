"""`Trainer`'s evaluation: the mean loss over samples, and `compute_metrics` of all predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from asgd.errors import UserError

PREFIX = "eval_"
PADDING = -100
CACHES = "past_key_values", "cache"
"""What a model keeps for the next word, which predicts nothing."""


class Evaluating:
    """`Task.evaluate` over `data`, read in order in batches of `batch`."""

    def __init__(
        self, data: Any, collate: Callable[[list[Any]], Any], batch: int, labels: list[str],
        compute_metrics: Callable[[Any], Mapping[str, float]] | None,
        precision: Callable[[str], AbstractContextManager[Any]],
    ) -> None:  # fmt: skip
        self._data, self._collate, self._batch, self._labels = data, collate, batch, labels
        self._compute, self._precision = compute_metrics, precision

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """{"eval_loss": ..., "eval_" and each metric}."""
        device = next(model.parameters()).device
        losses, weights, predictions, labels = [], [], [], []
        for batch in self._batches():
            moved = {
                name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()
            }
            with torch.no_grad(), self._precision(device.type):
                outputs = model(**moved)
            told = _named(outputs)
            if "loss" in told:
                losses.append(float(told["loss"]))
                weights.append(len(next(iter(moved.values()))))
            if self._compute is not None:
                predictions.append(_numbers(_predicted(told, model)))
                labels.append(_numbers(tuple(moved[name] for name in self._labels if name in moved)))
        found = {f"{PREFIX}loss": float(np.average(losses, weights=weights))} if losses else {}
        return found | self._metrics(predictions, labels)

    def _metrics(self, predictions: list[Any], labels: list[Any]) -> dict[str, float]:
        if self._compute is None:
            return {}
        from transformers import EvalPrediction

        whole = EvalPrediction(predictions=_joined(predictions), label_ids=_joined(labels))
        given = self._compute(whole)
        if not isinstance(given, Mapping):
            raise UserError(f"compute_metrics returned {type(given).__name__}; allowed: a dict of numbers")
        return {
            name if name.startswith(PREFIX) else PREFIX + name: float(value) for name, value in given.items()
        }

    def _batches(self) -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(self._data), self._batch):
            places = range(start, min(start + self._batch, len(self._data)))
            yield self._collate([self._data[place] for place in places])


def _named(outputs: Any) -> Mapping[str, Any]:
    if isinstance(outputs, Mapping):
        return outputs
    return {"loss": outputs[0], **{str(number): value for number, value in enumerate(outputs[1:])}}


def _predicted(told: Mapping[str, Any], model: nn.Module) -> tuple[Any, ...]:
    """All but the loss, and what the model itself says is no prediction."""
    left_out = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", None) or []
    return tuple(value for name, value in told.items() if name not in {"loss", *CACHES, *left_out})


def _numbers(values: tuple[Any, ...]) -> Any:
    """Tensors, and tuples of them, as arrays; one alone stands for itself."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            return value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
        return tuple(map(plain, value)) if isinstance(value, list | tuple) else value

    found = plain(values)
    return found[0] if len(found) == 1 else found


def _joined(parts: list[Any]) -> Any:
    """Along the samples; what is shorter in its second dimension is padded by -100, as Trainer does."""
    if isinstance(parts[0], tuple):
        return tuple(_joined([part[number] for part in parts]) for number in range(len(parts[0])))
    arrays = [np.atleast_1d(part) for part in parts]
    if arrays[0].ndim < 2:
        return np.concatenate(arrays)
    length = max(array.shape[1] for array in arrays)
    whole = np.full((sum(map(len, arrays)), length, *arrays[0].shape[2:]), PADDING, arrays[0].dtype)
    at = 0
    for array in arrays:
        whole[at : at + len(array), : array.shape[1]] = array
        at += len(array)
    return whole
