"""page.json: what a run leaves of its page, so that it can be looked at afterwards. Written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from asgd.page.model import VERSION, Model
from asgd.report.files import write_atomic

NAME = "page.json"


def write(model: Model, folder: Path) -> None:
    """Raises OSError."""
    write_atomic(folder / NAME, msgspec.json.encode(model.snapshot()))


def read(folder: Path) -> dict[str, Any] | None:
    """The snapshot that a run has left; None where there is none that can be read."""
    try:
        told = msgspec.json.decode((folder / NAME).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return told if isinstance(told, dict) and told.get("version") == VERSION else None


def resume(model: Model, told: dict[str, Any]) -> float:
    """Takes over what an earlier start of the job has left; returns the time at which `model` goes on."""
    model.columns.load(told["columns"])
    model.lanes.load(told["lanes"])
    model.heat.load(told["heat"])
    model.evaluations, model.moments = list(told["evaluations"]), list(told["moments"])
    model.t = float(told["t"]) + 1.0
    model.moments.append({"t": model.t, "kind": "phase", "text": "the job was started again"})
    return model.t
