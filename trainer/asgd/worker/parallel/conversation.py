"""The user's loss function on a model that is somewhere else: a thread that asks the first stage, waits for the last.

`loss(model, batch)` stays the user's own code and runs once a micro-batch, as without stages. What it gets as `model`
can be called, once, and nothing else: parameters and parts of the model belong to the stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asgd.errors import UserError
from asgd.worker import scalars
from asgd.worker.device.draws import Draws
from asgd.worker.parallel.carry import receive
from asgd.worker.parallel.mail import Box, Office

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Asked:
    """The loss has called the model: with what, and under which autocast."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    modes: Callable[[], AbstractContextManager[Any]]


class Stand:
    """Stands for the model in the loss function. Raises UserError on whatever is more than one call."""

    def __init__(self, answer: Callable[[Asked], Any]) -> None:
        self._answer = answer
        self._called = False

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self._called:
            raise UserError(
                "Task.loss calls the model twice; with workers.stages above 1 it may call it once a micro-batch"
            )
        self._called = True
        return self._answer(Asked(arguments, keywords, autocast_of_now()))

    def __getattr__(self, name: str) -> Any:
        if name == "training":
            return True
        raise UserError(
            f"Task.loss uses the model's {name!r}; with workers.stages above 1 it may call the model, and nothing else"
        )

    def check(self) -> None:
        """After the loss function."""
        if not self._called:
            raise UserError(
                "Task.loss does not call the model that it is given; with workers.stages above 1 it must, once"
            )


class Conversation:
    """One micro-batch's loss; `asked`, `answered` and `gradients` connect it to the first and the last stage."""

    def __init__(self, office: Office, part: Any, share: float, draws: Draws) -> None:
        self.asked, self.answered, self.gradients = Box(office), Box(office), Box(office)
        self.part, self.share, self.draws = part, share, draws

    def hold(self, loss: Loss, device: torch.device) -> Tensor:
        """Runs `loss` on `device`, the last stage's, and its backward pass; returns the loss, detached."""
        leaves: list[Any] = []

        def answer(asked: Asked) -> Any:
            self.draws.give(device)
            try:
                self.asked.put(asked)
                answered = self.answered.take()
            finally:
                self.draws.take(device)
            received = receive(answered, device)
            leaves.append(received)
            return received.values

        stand = Stand(answer)
        with self.draws.on(device):
            value = loss(stand, self.part)
            stand.check()
        (value if self.share == 1.0 else value * self.share).backward()  # type: ignore[no-untyped-call]
        self.gradients.put(leaves[0].gradients())
        hung: Tensor = scalars.hang(value.detach(), scalars.of(value))
        return hung


def autocast_of_now() -> Callable[[], AbstractContextManager[Any]]:
    """The autocast around this call, to be entered in other threads.

    NB: without autocast's cache of cast weights, which all threads share and any of them clears.
    """
    wanted = [
        (device, torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda")
        if torch.is_autocast_enabled(device)
    ]

    def enter() -> AbstractContextManager[Any]:
        stack = ExitStack()
        for device, dtype in wanted:
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        return stack

    return enter
