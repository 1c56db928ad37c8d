"""What a tree of processes costs, read from Linux' /proc: CPU-seconds, memory without counting shared pages twice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """`pid` and everything that descends from it, now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid`'s family, ended children included."""
    total = 0
    for member in family(pid):
        if fields := _stat(member):
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / _TICKS


def memory_mib(pid: int) -> float:
    """Proportional set size of `pid`'s family in MiB: a page that n processes share counts 1/n for each."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError, IndexError):
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def available_bytes() -> int:
    """Memory that can be taken without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """A signal to those of `pids` that still run."""
    for pid in pids:
        if _stat(pid)[:1] not in ([], ["Z"]):
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def own_cpu_seconds(pid: int) -> float:
    """User and system time of process `pid` alone; 0 when it is gone."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:13]) / _TICKS if fields else 0.0


class Meter:
    """CPU-seconds of some processes from now on; one that has ended counts up to the last look at it."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._first = {pid: own_cpu_seconds(pid) for pid in pids}
        self._last = dict(self._first)

    def look(self) -> float:
        """What they have used so far."""
        for pid in self._last:
            self._last[pid] = max(self._last[pid], own_cpu_seconds(pid))
        return sum(self._last[pid] - self._first[pid] for pid in self._last)


def peak_mib(pid: int) -> float:
    """The most memory that process `pid` ever held, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
