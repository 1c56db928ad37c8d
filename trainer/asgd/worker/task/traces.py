"""What importing a user's code leaves in a process, and whether processes forked from it are as good as new ones.

A fork copies memory. It does not copy threads; what is open is shared, down to the place in a file; and what was drawn
or looked up once is the same in all. Code that leaves such traces is imported in each process anew.
"""

from __future__ import annotations

from msgspec import Struct


class Traces(Struct):
    """What stands after an import that did not stand before."""

    threads: int = 0
    """Threads that run, and that a fork would lose."""
    children: bool = False
    """There are child processes."""
    files: list[str] = []
    """What is held open: paths, or the kernel's names of sockets and pipes."""
    cuda: bool = False
    """CUDA is initialised."""
    reads: list[str] = []
    """Variables of the environment that were read although each process of a run has a value of its own."""
    calls: list[str] = []
    """Calls from the user's files that hold for one process, as `os.getpid (train.py:3)`."""
    generators: list[str] = []
    """Random generators in the user's modules whose seed is chance, as `train.rng`."""
    drew: bool = False
    """The global random numbers are not where they were."""


def obstacle(traces: Traces, *, script: bool) -> str:
    """Why each process has to import for itself, as the rest of `importing it ...`; '' if it need not.

    `script`: what was imported is the beginning of a script, which goes on to draw where the imports have left off.
    """
    if traces.threads:
        return f"left {_count(traces.threads, 'thread')} running"
    if traces.cuda:
        return "initialised CUDA"
    if traces.children:
        return "started a process"
    if traces.files:
        return f"left {traces.files[0]} open"
    if traces.reads:
        return f"read {', '.join(traces.reads)}, which each worker has of its own"
    if traces.calls:
        return f"called {traces.calls[0]}, which holds for one process"
    if traces.generators:
        return f"left {traces.generators[0]}, a random generator without a seed"
    if traces.drew and script:
        return "drew random numbers"
    return ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")
