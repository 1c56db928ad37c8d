"""Float buffers (batch norm's running means and the like): no parameters, never pushed, but part of the answer.

`spec.buffers` says whose the evaluated and saved model has: `local` takes those of the lowest live worker,
`average` the mean over live workers; both reach the evaluator by way of heartbeats and shard 0. `recompute`, and
the time before a worker has made enough steps for its own to mean something, is `batchnorm.py`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from asgd.errors import ProtocolError
from asgd.kernel import F32

LEAST_STEPS = 50
"""So many steps of its own until a worker tells its buffers: with batch norm's usual momentum 0.1 nothing is left
of the values that the entrypoint built."""


class Buffers:
    """The float buffers in `model`'s state_dict as one vector of `size` float32."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._told = -math.inf
        self.size = sum(b.numel() for b in self._tensors())

    def _tensors(self) -> list[torch.Tensor]:
        """NB: looked up each time: moving a model to a device, or a module's own code, puts new tensors there."""
        kept = self._model.state_dict(keep_vars=True)
        return [b for name, b in self._model.named_buffers() if name in kept and b.is_floating_point()]

    def report(self, steps: int, every_seconds: float, final: bool) -> bytes:
        """What goes along with a worker's heartbeat after `steps` steps: now and then its buffers, and at the end."""
        now = time.monotonic()
        due = final or 0 < every_seconds <= now - self._told
        if not due or not self.size or steps < LEAST_STEPS:
            return b""
        self._told = now
        return self.gather()

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
        """Sets the buffers by `policy` from what workers told, lowest first; False when that gives none."""
        if policy == "recompute" or not told or not self.size:
            return False
        vectors = [np.frombuffer(values, np.float32) for values in told]
        if any(vector.size != self.size for vector in vectors):
            raise ProtocolError(f"a worker's model has other buffers: {self.size} values are expected")
        chosen = vectors if policy == "average" else vectors[:1]
        self.scatter(np.asarray(np.mean(chosen, axis=0, dtype=np.float64), np.float32))
        return True
