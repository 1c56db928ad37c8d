"""Columns as kubectl lays them out, and figures in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asgd.client.show.ages import NONE

_GAP = "   "


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of equal columns under their heads; an empty `head` leaves them out. None and '' are `<none>`."""
    cells = [[_cell(value) for value in row] for row in rows]
    lines = ([list(head)] if any(head) else []) + cells
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))] if lines else []
    return "\n".join(
        _GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def indented(text: str, by: str = "  ") -> str:
    return "\n".join(f"{by}{line}" for line in text.splitlines())


def _cell(value: object) -> str:
    return NONE if value is None or value == "" else str(value)
