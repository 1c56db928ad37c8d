"""Threads that stand back, also where the whole process does so already."""

from __future__ import annotations

import os
import sys

import pytest

from asgd.host.priority import NICENESS, stand_back

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="threads have a priority of their own on Linux"
)
NOBODY = 65534


@pytest.mark.parametrize(("before", "after"), [(0, NICENESS), (NICENESS, NICENESS), (19, 19)])
def test_a_process_that_nobody_prefers_stays_where_it_is(before: int, after: int) -> None:
    """In a process of its own, without rights: what an evaluator's pod is."""
    if os.getpriority(os.PRIO_PROCESS, 0) > before:
        pytest.skip("the tests run at a lower priority themselves")
    child = os.fork()
    if child == 0:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        if os.getuid() == 0:
            os.setuid(NOBODY)
        try:
            stand_back()
            os._exit(os.getpriority(os.PRIO_PROCESS, 0))
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == after
