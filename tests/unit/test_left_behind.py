"""A test that changes its process changes it for no other test."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import torch

SEEN: list[tuple[object, ...]] = []


def seen() -> tuple[object, ...]:
    found = os.environ.get("ASGD_WORKERS"), os.environ.get("HOME"), Path.cwd()
    return *found, random.random(), float(np.random.rand()), float(torch.rand(()))


def test_what_one_changes(tmp_path: Path) -> None:
    SEEN.append(seen())
    os.environ["ASGD_WORKERS"] = "7"
    os.environ.pop("HOME", None)
    os.chdir(tmp_path)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_the_next_does_not_see() -> None:
    assert SEEN in ([], [seen()])
