"""What `asgd.connect()` gives back: a model joined to the running job, in the place of its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from asgd.worker.device.flat import Flat
from asgd.worker.own.groups import Groups
from asgd.worker.own.loop import Joining, Loop, Pass, Stopped
from asgd.worker.reading.leased import Leasing
from asgd.worker.replica import Replica

__all__ = ["Connection", "Joining", "Pass", "Stopped"]


class Connection(Loop, Groups):
    """A model joined to the running job, to be used as its optimizer: `step` pushes gradients and pulls weights.

    `param_groups` and `state` are those of the optimizer that the script has handed over. Without one `param_groups`
    hold the job's learning rate of the moment, to be read; what a scheduler writes there is overwritten, and a warning
    says so.
    """

    def __init__(
        self, joining: Joining, replica: Replica, model: nn.Module, flat: Flat, leasing: Leasing, leaving: list[int]
    ) -> None:  # fmt: skip
        handed = joining.handed[0] if joining.handed else None
        Groups.__init__(self, joining.spec.optimizer, model, flat, handed)
        followed = (self, handed.optimizer) if handed else ()
        Loop.__init__(self, joining, replica, model, flat, leasing, leaving, followed)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """All gradients are 0, also where `set_to_none` would make them None: they stay views of one vector."""
        self._begin()
        self._replica.vectors.flat.zero()

    def step(
        self, closure: Callable[[], Any] | None = None, *, loss: Any = None, samples: int | None = None
    ) -> Any:
        """Hands the gradient over to the servers and takes their weights, as often as the job says.

        `loss`, a number or scalar tensor, is shown and recorded, or a dict of them, of which "loss" is the loss.
        `samples` behind this gradient default to what was dealt since the step before, else to spec.batchSize. With
        `closure` its result is the loss and is returned. Raises Stopped, which ends the script, when the job was over
        before; UserError when the script has done something to the model that would be lost.
        """

        def count(dealt: int) -> int:
            counted = max(dealt, samples or 0)
            if not counted:
                self._say_no_data("")
            return counted or self._spec.batch_size

        return self._step(self, closure, loss, count)
