"""What all tests share: the effort that `tests/effort.py` reads from the environment, and the state they begin with."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

# NB: before torch is loaded. A sum over more threads is rounded otherwise, and tests compare bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests import effort, warm

effort.load()
OF_PYTEST = "PYTEST_CURRENT_TEST"


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """What a test changes in its process ends with it: variables, directory, states of random generators.

    Which tests ran before in the same process is chance: each begins with the same.
    """
    environ, place, states = dict(os.environ), Path.cwd(), _random_states()
    yield
    for name in {*environ, *os.environ} - {OF_PYTEST}:
        if name not in environ:
            del os.environ[name]
        elif os.environ.get(name) != environ[name]:
            os.environ[name] = environ[name]
    os.chdir(place)
    _restore(states)


def _random_states() -> tuple[object, ...]:
    """Of the generators that are loaded."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return random.getstate(), numpy and numpy.random.get_state(), torch and torch.get_rng_state()


def _restore(states: tuple[object, ...]) -> None:
    plain, numpy, torch = states
    random.setstate(plain)  # type: ignore[arg-type]
    if numpy is not None:
        sys.modules["numpy"].random.set_state(numpy)
    if torch is not None:
        sys.modules["torch"].set_rng_state(torch)


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this test are started anew, with all their imports."""
    monkeypatch.setattr(warm, "usable", False)
