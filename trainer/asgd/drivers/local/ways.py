"""Which way a process of `asgd run` is started. Pure: `starter.py` does it.

A fork of a process that has imported the user's code is up in milliseconds; where that code can't be forked, a fork of
one that has imported torch; where nothing can be forked, a new process that imports all by itself. All three run the
same code with the same environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

RESTARTS = 3
"""How often a fork server that dies is started again in one run."""


class Standing(Enum):
    """What a fork server can be asked for."""

    IMPORTING = "importing"
    READY = "ready"
    OUT = "out"
    """Nothing, for the rest of the run."""


def way(preferred: Sequence[Standing], env: Mapping[str, str]) -> int | None:
    """The place of the first fork server in `preferred` that can fork a process told by `env`; None: start it anew.

    `env` is what the process has besides the environment that all of a run share. Variables that are not ours may be
    read by libraries while they are imported, which a fork server has done already.
    """
    if not all(name.startswith("ASGD_") for name in env):
        return None
    return next((place for place, standing in enumerate(preferred) if standing is Standing.READY), None)


def after_end(ends: int) -> Standing:
    """What becomes of a fork server that has ended `ends` times."""
    return Standing.IMPORTING if ends <= RESTARTS else Standing.OUT
