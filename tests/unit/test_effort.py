"""What a property tries depends on its seed, not on what else is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers


def tried() -> list[int]:
    """What a derandomised property tries."""
    found: list[int] = []

    @settings(derandomize=True, database=None, max_examples=100)
    @given(st.integers(0, 10**9))
    def note(number: int) -> None:
        found.append(number)

    note()
    return found


def test_a_derandomised_property_tries_the_same_whatever_modules_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tried()
    folder = tmp_path / "product"
    folder.mkdir()
    (folder / "loaded.py").write_text("NUMBERS = " + repr([10**8 + 7 * i for i in range(200)]))
    loaded = ModuleType("loaded")
    loaded.__file__ = str(folder / "loaded.py")
    monkeypatch.setitem(sys.modules, "loaded", loaded)
    monkeypatch.setattr(providers, "is_local_module_file", lambda path: path == loaded.__file__)
    assert tried() == before
