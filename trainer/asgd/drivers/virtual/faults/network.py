"""A network that loses, repeats, holds back and reorders messages until the plan's calm begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd.drivers.virtual.clock import Action, Clock
from asgd.drivers.virtual.faults.plan import CALM_SECONDS, Plan
from asgd.drivers.virtual.network import Network
from asgd.wire.messages import Message


class FaultyNetwork(Network):
    """Of `plan`. What is held back is overtaken by what was sent after it."""

    loses = True

    def __init__(self, clock: Clock, plan: Plan) -> None:
        super().__init__(clock, plan.world)
        self._plan, self._calm_clock = plan, clock
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([0x0DD, plan.seed])))

    def send(
        self, source: Any, target: Any, message: Message, payload_bytes: int, deliver: Action
    ) -> None:  # fmt: skip
        trouble, clock = self._plan.trouble, self._calm_clock
        if clock.now >= CALM_SECONDS:
            super().send(source, target, message, payload_bytes, deliver)
            return
        lost, twice, late = self._random.random(3) < (trouble.loss, trouble.twice, trouble.late)
        delay = float(self._random.uniform(0.0, trouble.late_seconds))
        if late:
            super().send(source, target, message, payload_bytes, lambda: clock.after(delay, deliver))
        elif not lost:
            super().send(source, target, message, payload_bytes, deliver)
        if twice:
            super().send(source, target, message, payload_bytes, lambda: clock.after(delay, deliver))
