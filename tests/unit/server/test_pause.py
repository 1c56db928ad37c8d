"""A server that stood still, as on a frozen machine, does not take its own absence for its workers' silence."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.server.core import ServerCore
from asgd.server.membership import MEMBER_TIMEOUT_SECONDS
from asgd.wire.messages import Hello
from tests.checks.virtual import job

LATER = MEMBER_TIMEOUT_SECONDS + 5


@pytest.mark.parametrize("ticking", [False, True])
def test_only_time_in_which_the_server_ran_counts_as_silence(ticking: bool) -> None:
    core = ServerCore(job(stopAfter={"updates": 10}), 0, 1)
    core.receive("worker", Hello("check", "worker", 0, 1, 5, "layout"), None, 0.0)
    core.tick(0.0)
    for later in np.arange(1, LATER) if ticking else [LATER]:
        core.tick(float(later))
    assert core.primary is not None
    assert (0 in core.primary.coordinator.members) is not ticking
    assert (0 in core.shard.members) is not ticking
