"""What a process's loss makes of a few samples at the weights that its task was built with, and whether two agree.

What a loss uses beside the batch (the numbers of classes, weights of classes) stands in no sample and no tensor of the
model. Told are the weights, the loss and its gradient, by which also a model whose last layer begins with zeros tells
one label from another. Who was built with other weights is not compared: trained ones come from the servers. Devices
round and draw in their own ways, so that each kind has a part of its own, and so has each number of samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from asgd.wire.agreement import LOSS, TOLERANCE, Part, apart

LOSS_TOLERANCE = 0.05
"""Of the loss, and of the gradient's root mean square. TF32 and bfloat16 of two devices of one kind differ by up to
0.01, another label of one sample in eight by 0.5 of a gradient."""


def loss_part(
    samples: int, device: str, weights: Sequence[float], loss: Sequence[float], gradient: Sequence[float]
) -> Part:
    """The part of a loss, each of its three as `describe` gives a float array."""
    name = f"{LOSS}{samples} sample{'s' if samples > 1 else ''} on {device}"
    empty = hashlib.sha256().hexdigest()[:16]
    return Part(name, empty, empty, [*weights, *loss, *gradient])


def unlike_loss(one: Part, other: Part, tolerance: float = LOSS_TOLERANCE) -> str:
    """In what two losses of one name differ; empty if they do not, or were taken at other weights."""
    if len(one.floats) != 9 or len(other.floats) != 9 or apart(one.floats[:3], other.floats[:3], TOLERANCE):
        return ""
    if apart(one.floats[3:6], other.floats[3:6], tolerance):
        return f"by {abs(one.floats[3] - other.floats[3]) / max(one.floats[3], other.floats[3]):.1%}"
    return "in its gradient" if apart(one.floats[6:], other.floats[6:], tolerance) else ""
