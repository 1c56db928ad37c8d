"""matplotlib's settings that all pictures of a run share: no frame above and right, titles bold and to the left."""

from __future__ import annotations

from typing import Any

PLAIN: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.8,
    # Names of metrics and jobs are free text: a dollar sign in one is no formula.
    "text.parse_math": False,
}
