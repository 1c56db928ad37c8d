"""How much memory and how many cores this process may have: the machine's, or what its container is limited to."""

from __future__ import annotations

import os
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of cgroups of version 2 and 1, as a container sees its own."""
_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Microseconds of computing in a period, and the period: in one file, or in one each."""


def available_bytes() -> int:
    """The least of the machine's memory and the container's limit."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():  # "max" is no limit
            found.append(int(text))
    return min(found)


def available_cores() -> int:
    """Cores that this process may use, at least 1."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(machine, limited_cores() or machine)


def limited_cores() -> int | None:
    """Whole cores that the container's limit allows, at least 1; None without a limit."""
    for paths in _QUOTAS:
        try:
            words = " ".join(Path(path).read_text(encoding="ascii") for path in paths).split()
        except OSError:
            continue
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            return max(1, int(words[0]) // int(words[1]))  # "max" and -1 are no limit
    return None
