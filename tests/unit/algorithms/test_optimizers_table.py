"""The table of docs/reference/optimizers.md says what the code has: fields, defaults, decay, arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgd.algorithms.optimizers import make_optimizer
from asgd.spec.optimizers import FIELDS
from asgd.spec.types import Optimizer

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reference" / "optimizers.md"
ENCODED = {info.name: info.encode_name for info in msgspec.structs.fields(Optimizer)}


def rows() -> dict[str, list[str]]:
    """{optimizer: the other cells of its line}"""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def made(name: str, **fields: Any) -> Optimizer:
    return msgspec.convert({"name": name, **fields}, Optimizer)


def number(value: Any) -> str:
    """As the table writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, tuple)):
        return json.dumps(value)
    return f"{value:g}".replace("e-0", "e-")


def test_every_optimizer_has_a_line() -> None:
    assert list(rows()) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_line_says_the_fields_and_what_they_are_if_not_given(name: str) -> None:
    spec = made(name)
    told = rows()[name][1]
    assert told == ", ".join(f"`{ENCODED[field]}` {number(getattr(spec, field))}" for field in FIELDS[name])


@pytest.mark.parametrize("name", FIELDS)
def test_a_line_says_how_weights_decay_and_how_many_arrays_it_takes(name: str) -> None:
    spec, (_, _, decay, arrays, _) = made(name), rows()[name]
    optimizer = make_optimizer(spec)
    kind = "decoupled" if optimizer.decoupled else "L2"
    assert decay == f"{kind}, {number(spec.weight_decay)}"
    assert arrays.split(";")[0] == str(len(optimizer.slots))
    if "with `momentum`" in arrays:
        assert len(make_optimizer(made(name, momentum=0.9)).slots) == len(optimizer.slots) + 1
    if "with `centered`" in arrays:
        assert len(make_optimizer(made(name, centered=True)).slots) == len(optimizer.slots) + 1
