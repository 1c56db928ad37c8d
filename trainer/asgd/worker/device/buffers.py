"""Float buffers (batch norm's running means and the like): no parameters, never pushed, but part of the answer.

`spec.buffers` says whose the evaluated and saved model has: `local` takes those of the lowest live worker,
`average` the mean over live workers; both reach the evaluator by way of heartbeats and shard 0. `recompute`, and
the time before a worker has made enough steps for its own to mean something, is `batch_norm.py`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from asgd.host.say import say
from asgd.kernel import F32
from asgd.wire.limits import BUFFERS_MOST
from asgd.worker.left import LEAST_STEPS

USUAL_MOMENTUM = 0.1


def least_steps(model: nn.Module) -> int:
    """So many steps of its own until a worker's buffers count: `LEAST_STEPS`, or more where `model` has a batch norm of
    a momentum below the usual 0.1, until as little is left of what its statistics began with."""
    momenta = [
        layer.momentum
        for layer in model.modules()
        if isinstance(layer, _NormBase) and layer.track_running_stats and layer.momentum is not None
    ]
    slowest = min((m for m in momenta if m > 0), default=USUAL_MOMENTUM)
    if slowest >= USUAL_MOMENTUM:
        return LEAST_STEPS
    return math.ceil(LEAST_STEPS * math.log1p(-USUAL_MOMENTUM) / math.log1p(-slowest))


class Buffers:
    """The float buffers in `model`'s state_dict as one vector of `size` float32."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._told = -math.inf
        self._warned = False
        self._least = least_steps(model)
        self.size = sum(b.numel() for b in self._tensors())
        sent = 4 * self.size <= BUFFERS_MOST
        self._first = [b.detach().clone() for b in self._tensors()] if sent else []

    def _tensors(self) -> list[torch.Tensor]:
        """NB: looked up each time: moving a model to a device, or a module's own code, puts new tensors there."""
        kept = self._model.state_dict(keep_vars=True)
        return [b for name, b in self._model.named_buffers() if name in kept and b.is_floating_point()]

    def heal(self) -> None:
        """A batch was not finite: what of it got into a running mean would stay there, so that one begins anew."""
        with torch.no_grad():
            for tensor, first in zip(self._tensors(), self._first, strict=False):
                if tensor.shape == first.shape and not bool(torch.isfinite(tensor).all()):
                    tensor.copy_(first)

    def report(self, steps: int, every_seconds: float, final: bool) -> bytes:
        """What goes along with a worker's heartbeat after `steps` steps: now and then its buffers, and at the end."""
        now = time.monotonic()
        due = final or 0 < every_seconds <= now - self._told
        if not due or not self.size or steps < self._least or self._too_large():
            return b""
        self._told = now
        return self.gather()

    def _too_large(self) -> bool:
        """More than a message carries: nobody is told, which is said once. Then the answer has the entrypoint's own."""
        if 4 * self.size <= BUFFERS_MOST:
            return False
        if not self._warned:
            self._warned = True
            say(
                f"the model's float buffers are not sent for evaluation: they take {self.size >> 18} MiB, and"
                f" {BUFFERS_MOST >> 20} MiB go along; register what never changes with persistent=False"
            )
        return True

    def gather(self) -> bytes:
        """Their values, float32."""
        with torch.no_grad():
            return b"".join(
                b.detach().to("cpu", torch.float32).contiguous().numpy().tobytes() for b in self._tensors()
            )

    def scatter(self, vector: F32) -> None:
        """Takes over values of shape (size,)."""
        start = 0
        for tensor in self._tensors():
            part = torch.from_numpy(vector[start : start + tensor.numel()])
            tensor.copy_(part.view(tensor.shape))
            start += tensor.numel()

    def settle(self, policy: str, told: Sequence[bytes]) -> bool:
        """Sets the buffers by `policy` from what workers told, lowest first; False when that gives none.

        Who told another number of values has another model, and is left out; so is who told nan (inf may be
        a mask's).
        """
        if policy == "recompute" or not told or not self.size:
            return False
        vectors = [np.frombuffer(values, np.float32) for values in told if len(values) == 4 * self.size]
        vectors = [vector for vector in vectors if not np.isnan(vector).any()]
        if not vectors:
            return False
        chosen = vectors if policy == "average" else vectors[:1]
        self.scatter(np.asarray(np.mean(chosen, axis=0, dtype=np.float64), np.float32))
        return True
