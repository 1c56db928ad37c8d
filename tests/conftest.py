"""What all tests share: the effort that `tests/effort.py` reads from the environment."""

from __future__ import annotations

import os

# NB: before torch is loaded. A sum over more threads is rounded otherwise, and tests compare bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests import effort

effort.load()
