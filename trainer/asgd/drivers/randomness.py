"""Several workers in one process, each with random numbers as if the process were its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


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
        set_random_state(self._state)
        try:
            yield
        finally:
            self._state = random_state()
            set_random_state(before)
