"""In a notebook a run is one output of its cell, redrawn now and then, however long it takes and whatever it says."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from asgd.drivers.display import Display
from asgd.interactive import notebook
from asgd.interactive.notebook import NotebookView, by_cells, in_notebook
from tests.unit.report.statuses import status


class Kernel:
    """IPython as far as it is needed: what was shown, and what replaced it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[str] = []
        self.updates = 0
        self.now = 100.0
        compiler = types.SimpleNamespace(_filename_map={"/tmp/ipykernel_7/4087.py": 3})
        shell = types.SimpleNamespace(kernel=object(), compile=compiler)
        display = types.SimpleNamespace(display=self._display)
        ipython: Any = types.ModuleType("IPython")
        ipython.get_ipython, ipython.display = lambda: shell, display
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setattr(notebook.time, "monotonic", lambda: self.now)

    def _display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Kernel:
        assert raw and display_id
        self.shown.append(bundle["text/plain"])
        return self

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        self.updates += 1
        self.shown[-1] = bundle["text/plain"]


def test_a_minute_of_statuses_are_one_output_of_a_screens_height(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    with Display(view=NotebookView()) as display:
        display.waiting("importing torch: 2 s")
        for tick in range(600):
            kernel.now += 0.1
            if tick % 10 == 0:
                display.note(f"note {tick}\nand more")
            display.update(status())
    assert len(kernel.shown) == 1
    assert kernel.updates <= 600 / 10 + 2, "once a second"
    lines = kernel.shown[0].splitlines()
    assert len(lines) <= 12 + 18 and lines[11] == "and more" and "digits · asgd · running" in kernel.shown[0]


def test_a_run_that_never_trained_leaves_no_wait_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    with Display(view=NotebookView()) as display:
        display.waiting("importing torch: 2 s")
        assert kernel.shown == ["importing torch: 2 s"]
    assert kernel.shown == [""]


def test_a_kernel_is_known_and_a_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    Kernel(monkeypatch)
    assert in_notebook()


def test_places_in_cells_are_told_by_the_cells_number(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "mine failed: ValueError: no data at 10:30 (4087.py:2)"
    assert by_cells(said) == said
    Kernel(monkeypatch)
    assert by_cells(said) == "mine failed: ValueError: no data at 10:30 (In[3], line 2)"
