"""Random numbers: the job's seed for all processes alike, and several workers in one process, each with its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """From here on all processes of a job draw the same numbers."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def seed_everywhere(seed: int, *generators: torch.Generator) -> None:
    """`random`, numpy, torch on the CPU and these generators of devices; no other device, which may not be in use."""
    random.seed(seed)
    np.random.seed(seed)
    for one in (torch.default_generator, *generators):
        one.manual_seed(seed)


def random_state() -> Any:
    """The state of `random`, numpy and torch."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_random_state(state: Any) -> None:
    """Puts back what `random_state` gave."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


class Randomness:
    """One worker's random numbers while another has its turn."""

    def __init__(self) -> None:
        self._state = random_state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """They are the process's within the block."""
        before = random_state()
        self.put()
        try:
            yield
        finally:
            self.take()
            set_random_state(before)

    def put(self) -> None:
        """They are the process's from here on."""
        set_random_state(self._state)

    def take(self) -> None:
        """Somebody else's are the process's from here on."""
        self._state = random_state()


class Turns:
    """Many workers' random numbers, put in place only when another one has its turn: numpy's take 0.1 ms."""

    def __init__(self) -> None:
        self._own = Randomness()
        self._on = self._own

    def give(self, worker: Randomness) -> None:
        """The process's random numbers are `worker`'s until another has its turn."""
        if worker is not self._on:
            self._on.take()
            worker.put()
            self._on = worker

    def end(self) -> None:
        """The process's random numbers are its own again."""
        self.give(self._own)
