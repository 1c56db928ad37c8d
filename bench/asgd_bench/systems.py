"""The systems that are measured on the update path: their commands, and what they need in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from asgd_bench.environments import python_for
from asgd_bench.results import Line
from asgd_bench.system import Failed, System, script

TORCH_BYTES = 450 << 20
"""What a process that has imported torch holds of its own."""
MIDDLE_BYTES = 200 << 20
"""The same of Ray or MXNet."""
SLIM_BYTES = 40 << 20
BF16 = 2.0**-8
"""Relative error of a weight that was rounded to bfloat16."""

Maker = Callable[[str, int, int], System]
"""(name, parameters, workers) -> a system. Raises Failed when it can't be had."""


def our(lane: str, *options: str, shards: int = 1, tolerance: float = 0.0, exact: bool = True) -> Maker:
    """One of our configurations; `options` as `python -m asgd_bench.ours` takes them."""

    def make(name: str, parameters: int, workers: int) -> System:
        size = [f"--parameters={parameters}", f"--workers={workers}", f"--shards={shards}", f"--lane={lane}"]
        command = [sys.executable, "-m", "asgd_bench.ours", *size, *options]
        memory = SLIM_BYTES * (1 + workers + shards) + 4 * parameters * (2 * workers + 2)
        return System(name, command, exact=exact, tolerance=tolerance, memory_bytes=memory)

    return make


def peer(environment: str, file: str, *options: str, exact: bool = True) -> Maker:
    """The peer script `file` in the environment `environment`."""

    def make(name: str, parameters: int, workers: int) -> System:
        size = [f"--parameters={parameters}", f"--workers={workers}"]
        own = {"torch": TORCH_BYTES, "ray": MIDDLE_BYTES, "mxnet": MIDDLE_BYTES}.get(environment, SLIM_BYTES)
        # NB: systems that serialise hold each gradient and each answer about twice.
        memory = (workers + 2) * own + 4 * parameters * (4 * workers + 2)
        command = [python_for(environment), script(file), *size, *options]
        return System(name, command, exact=exact, memory_bytes=memory)

    return make


def make_all(
    makers: Sequence[tuple[str, Maker]], parameters: int, workers: int
) -> tuple[list[System], list[Line]]:
    """Those that can take part, and a line with the reason for each that can't."""
    found, refused = [], []
    for name, make in makers:
        try:
            found.append(make(name, parameters, workers))
        except Failed as error:
            refused.append(Line(name, [], str(error)))
    return found, refused
