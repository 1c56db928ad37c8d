"""Digits of which one sample holds nan: every batch that it is in has a loss of nan."""

from __future__ import annotations

from typing import Any

import torch

from asgd.examples import digits
from asgd.task import Task


def task(**args: Any) -> Task:
    """The entrypoint."""
    made = digits.task(**args)
    images = made.data.tensors[0]
    images[100] = torch.nan
    return made
