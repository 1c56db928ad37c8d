"""A server that stood still, as on a frozen machine, does not take its own absence for its workers' silence."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from asgd.server.membership import MEMBER_TIMEOUT_SECONDS
from tests.unit.server.rig import Rig

LATER = MEMBER_TIMEOUT_SECONDS + 5


@pytest.mark.parametrize("ticking", [False, True])
def test_only_time_in_which_the_server_ran_counts_as_silence(
    tmp_path: Path, ticking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rig(tmp_path, "tcp", 5) as rig:
        worker = rig.joined()
        chief, start = rig.service.chief, time.monotonic()
        assert chief is not None
        monkeypatch.setattr(chief, "_ticked", start)
        steps = np.arange(1, LATER) if ticking else [LATER]
        lost = [member.index for later in steps for member in chief.tick(start + float(later))]
        assert lost == ([0] if ticking else [])
        assert (worker.identity.index in chief.coordinator.members) is not ticking
