"""When a script's worker joins its job: at the first use of the model, so that what is loaded before is what counts.

Between `asgd.connect(model)` and the first batch scripts load weights, initialise layers and build schedulers. A job
that has been trained already (this worker comes late, or again) gives its weights at once instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from asgd.wire.ask import Asker
from asgd.wire.messages import Command, Done


def has_been_trained(asker: Asker, patience_seconds: float) -> bool:
    """Whether the job has updates already, or is over. Raises TryAgain when shard 0 does not answer."""
    while True:
        answer = asker.ask(Command("status"), patience_seconds)
        if not isinstance(answer, Done):
            return False
        status: dict[str, Any] = msgspec.json.decode(answer.body)
        if "phase" in status:
            return bool(status.get("updates") or status.get("stopReason"))


class FirstUse:
    """Calls `begin` before the first forward pass of any of `model`'s modules, unless it is called off before.

    NB: a hook of all modules, not of these: scripts copy their models (moving averages, target networks), and a
    module's own hooks would be copied with it.
    """

    def __init__(self, model: nn.Module, begin: Callable[[], None]) -> None:
        modules = {id(module) for module in model.modules()}
        warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global")

        def look(module: nn.Module, _: Any) -> None:
            # NB: inside torch.func's transforms tensors have no memory to join with; the first `step` joins then.
            if id(module) in modules and not torch._C._are_functorch_transforms_active():
                begin()

        self._handle = register_module_forward_pre_hook(look)

    def call_off(self) -> None:
        """It is not looked for any more."""
        self._handle.remove()
