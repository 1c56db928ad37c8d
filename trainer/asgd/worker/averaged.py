"""The moving average of the centre (`evaluation.ema`) as the evaluator sees it: pulled from servers, measured, kept."""

from __future__ import annotations

import torch

from asgd.wire.messages import OF_AVERAGE
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.extras import WholeModel
from asgd.worker.sending.centre import Centre
from asgd.worker.sending.headers import PushHeader


class Averaged:
    """Room for it. `whole`: the model as it was measured last."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.staging = Staging(size, device)
        self.whole: WholeModel | None = None

    def pull(self, centre: Centre) -> None:
        """Takes it as it is now."""
        centre.exchange(None, self.staging.host, PushHeader(of=OF_AVERAGE))
