"""The job's seed is set before the user's module is imported, so what it draws at module level is the same in all."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from asgd.worker.task.entrypoint import load_entrypoint
from tests.checks.virtual import job

MODULE = """
import random
import numpy as np, torch
DRAWN = [random.random(), float(np.random.rand()), float(torch.rand(()))]
def task(): return DRAWN
"""


def drawn(folder: Path, name: str, seed: int) -> list[float]:
    (folder / f"{name}.py").write_text(MODULE)
    random.seed()
    np.random.seed()
    torch.seed()
    return list(load_entrypoint(job(entrypoint=f"{name}.py:task", seed=seed).spec)())


def test_what_a_module_draws_when_it_is_imported_follows_the_jobs_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert drawn(tmp_path, "one", 3) == drawn(tmp_path, "two", 3)
    assert all(a != b for a, b in zip(drawn(tmp_path, "three", 3), drawn(tmp_path, "four", 4), strict=True))
