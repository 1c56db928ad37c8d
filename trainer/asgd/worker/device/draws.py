"""The random numbers of a micro-batch, the same whether one device computes it or several stages one after the other.

Dropout draws from the one generator of its device. So each micro-batch has a state of that generator to itself: it is
put in before a stage computes and taken out behind it, and goes on with the activations. A batch that is not cut goes
on with the device's own numbers. Numbers drawn elsewhere (Python's `random`, numpy, another device) are not covered.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""One for each generator: stages on the same device draw one after the other."""


def generator(device: torch.device) -> torch.Generator:
    """The generator that modules on `device` draw from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


class Draws:
    """The state of one micro-batch's random numbers."""

    def __init__(self, state: Tensor) -> None:
        self.state = state

    def take(self, device: torch.device) -> None:
        """From here to `give` the generator of `device` is this micro-batch's alone."""
        _locks[_key(device)].acquire()
        generator(device).set_state(self.state)

    def give(self, device: torch.device) -> None:
        """What was drawn is remembered, and others may draw."""
        self.state = generator(device).get_state()
        _locks[_key(device)].release()

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """`take`, and `give` whatever happens."""
        self.take(device)
        try:
            yield
        finally:
            self.give(device)


def _key(device: torch.device) -> str:
    return str(device) if device.type == "cuda" else "cpu"


@contextmanager
def dealt(parts: int, device: torch.device) -> Iterator[list[Draws]]:
    """Random numbers for the `parts` micro-batches of a batch that enters on `device`.

    Several get seeds drawn from this process's CPU generator, which then goes on as if nothing else had been drawn.
    """
    if parts == 1:
        only = Draws(generator(device).get_state())
        yield [only]
        generator(device).set_state(only.state)
        return
    seeds = torch.randint(1 << 62, (parts,), device="cpu").tolist()
    generators = {torch.default_generator, generator(device)}
    after = [(one, one.get_state()) for one in generators]
    fresh = torch.Generator("cuda" if device.type == "cuda" else "cpu")
    yield [Draws(fresh.manual_seed(seed).get_state()) for seed in seeds]
    for one, state in after:
        one.set_state(state)
