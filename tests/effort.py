"""How much of a test with many cases is run: by `make test`, or by `make test-all`.

`make test` answers within minutes, so it takes some cases and some examples of each thing that is proved;
`make test-all` runs the rest. A plain `pytest` runs every case, with as many examples of a property as `make test`.

Properties have no deadline under either profile of hypothesis: it would measure the machine. Their examples come from
their seed alone: hypothesis would mix in constants from the source of each module that happens to be loaded, so what a
property without randomness tries would depend on the tests that ran before it in the same process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture.providers import Constants, HypothesisProvider

USUAL_EXAMPLES = 100
FACTORS = {"fast": 0.4, "thorough": 2.0}


def load() -> None:
    """Makes hypothesis follow the profile of $HYPOTHESIS_PROFILE: `fast` (which is the default) or `thorough`."""
    for name, factor in FACTORS.items():
        settings.register_profile(name, max_examples=round(factor * USUAL_EXAMPLES), deadline=None)
    settings.load_profile(_profile())
    # NB: no setting does so; `tests/unit/test_effort.py` notices when the name is another one.
    HypothesisProvider._local_constants = Constants()


def examples(usual: int) -> int:
    """What a property that wants more or fewer than 100 examples gets: fewer under `fast`, more under `thorough`."""
    return round(FACTORS[_profile()] * usual)


def first(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Values for `pytest.mark.parametrize`: all but the first `count` are slow cases."""
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if place >= count else [])
        for place, case in enumerate(cases)
    ]


def _profile() -> str:
    return os.environ.get("HYPOTHESIS_PROFILE", "fast")
