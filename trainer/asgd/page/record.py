"""page.json: what a run leaves of its page, so that it can be looked at afterwards. Written whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from asgd.page.model import VERSION, Model
from asgd.report.files import write_atomic

NAME = "page.json"
AGAIN = "the job was started again"


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


def resume(model: Model, told: dict[str, Any], again: str = AGAIN) -> float:
    """Takes over what an earlier start of the same run has left; returns the time at which `model` goes on.

    Time in which there was no page is left out. `again`: what is told of it. Raises what a damaged file makes it raise.
    """
    if told["about"].get("run", "") != model.about.run:
        return 0.0
    model.columns.load(told["columns"])
    model.lanes.load(told["lanes"])
    model.heat.load(told["heat"])
    model.evaluations, model.moments = list(told["evaluations"]), list(told["moments"])
    model.t = float(told["t"]) + 1.0
    model.about = replace(model.about, wall=model.about.wall - model.t)
    # NB: who trains on is told so by the next status.
    model.lives = {
        int(worker): [life if life[2] is not None else [*life[:2], model.t, "left"] for life in lives]
        for worker, lives in told["lives"].items()
    }
    model.moments.append({"t": model.t, "kind": "phase", "text": again})
    return model.t
