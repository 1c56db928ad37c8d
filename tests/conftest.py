"""What all tests share: the effort that `tests/effort.py` reads from the environment."""

from __future__ import annotations

from tests import effort

effort.load()
