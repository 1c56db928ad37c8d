"""What `Task.loss` returns beside the loss, where it returns a dict: shown and recorded, and no part of the gradient.

The loss travels on as a tensor, so that whoever calls `Task.loss` knows nothing of dicts; the others hang on it. They
are weighted as the loss is: micro-batches by their share, batches of one push alike. A batch that is dropped takes its
own with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from asgd.errors import UserError
from asgd.wire.limits import FIGURES_MOST, NAME_MOST

LOSS = "loss"
_ATTRIBUTE = "asgd_scalars"


class Scalars:
    """Of one worker: values of the batch under way, and of those since the last push."""

    def __init__(self) -> None:
        self._batch: dict[str, Any] = {}
        self._pushed: dict[str, list[float]] = {}

    def begin(self) -> None:
        """The next batch begins; the one before it counts."""
        # NB: a number on a device is waited for only here, long after it was computed.
        for name, value in self._batch.items():
            self._pushed.setdefault(name, []).append(float(value))
        self._batch = {}

    def add(self, values: Mapping[str, Any], share: float = 1.0) -> None:
        """A micro-batch has these, and is so large a part of its batch."""
        for name, value in values.items():
            self._batch[name] = self._batch.get(name, 0.0) + value * share

    def drop(self) -> None:
        """The batch under way is left out."""
        self._batch = {}

    def take(self) -> dict[str, float]:
        """The means over the batches since the last time; what is not finite is left out."""
        self.begin()
        found, self._pushed = self._pushed, {}
        means = {name: sum(values) / len(values) for name, values in found.items()}
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def of(loss: Any) -> Mapping[str, Any]:
    """What hangs on a loss."""
    found: Mapping[str, Any] = getattr(loss, _ATTRIBUTE, {})
    return found


def hang(loss: Any, values: Mapping[str, Any]) -> Any:
    """`loss`, a tensor, with `values` on it."""
    if values:
        setattr(loss, _ATTRIBUTE, values)
    return loss


def plain(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The user's loss function as one that returns a tensor, on which the rest of a dict hangs. It raises UserError."""

    def told(model: Any, batch: Any) -> Any:
        return without_dict(loss(model, batch), "Task.loss returned a dict")

    return told


def without_dict(result: Any, what: str) -> Any:
    """The loss of a dict, with the rest hanging on it; anything else as it is. Raises UserError."""
    if not isinstance(result, Mapping):
        return result
    if LOSS not in result:
        raise UserError(
            f"{what} without {LOSS!r}, which is trained; it has {', '.join(map(repr, result)) or 'nothing'}"
        )
    return hang(result[LOSS], numbers({name: v for name, v in result.items() if name != LOSS}, what))


def numbers(values: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """`values` as numbers and scalar tensors by name. Raises UserError."""
    found = {str(name): _number(name, value, what) for name, value in values.items()}
    if len(found) > FIGURES_MOST or any(len(name) > NAME_MOST for name in found):
        raise UserError(
            f"{what} of {len(found)} values; allowed: {FIGURES_MOST}, with names of {NAME_MOST} letters"
        )
    return found


def _number(name: Any, value: Any, what: str) -> Any:
    """A number, or a scalar tensor that no longer needs its graph."""
    if hasattr(value, "detach") and getattr(value, "numel", lambda: 0)() == 1:
        return value.detach().reshape(())
    if isinstance(value, (int, float)):
        return float(value)
    raise UserError(f"{what} with {name!r}: {type(value).__name__}; allowed: a number or a scalar Tensor")


def loss_of(told: Any, beside: Scalars) -> float | None:
    """The loss that an own loop gives to its step, as a number; `beside` is told what else stands in a dict."""
    beside.begin()
    if isinstance(told, Mapping):
        beside.add(
            numbers(
                {name: value for name, value in told.items() if name != LOSS}, "optimizer.step got a loss"
            )
        )
        told = told.get(LOSS)
    return None if told is None else float(told.detach() if hasattr(told, "detach") else told)
