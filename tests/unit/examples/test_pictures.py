"""The pictures of docs/strategies.md: all that are there are shown, all that are shown are there, and all are small."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
PICTURES = DOCS / "images" / "strategies"


def test_every_picture_is_shown_and_every_picture_shown_exists() -> None:
    page = (DOCS / "strategies.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\((images/strategies/[\w-]+\.png)\)", page)
    assert shown and {DOCS / path for path in shown} == set(PICTURES.glob("*.png"))


def test_pictures_are_small_enough_for_a_repository() -> None:
    assert all(path.stat().st_size < 40_000 for path in PICTURES.glob("*.png"))
