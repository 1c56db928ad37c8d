"""The codecs' compiled loops by themselves, one core: GB/s of fp32 that are packed, and unpacked and added.

Chunks of 2 MiB out of 64 MiB, so that each is as cold as in a large model. Error feedback is on where a codec has it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np

from asgd.kernel import F32
from asgd.wire import packing
from asgd.wire.partition import CHUNK
from asgd_bench.plan import Plan
from asgd_bench.results import Line, Sample, Table

NAME = "encoders"
ABOUT = "the codecs' loops on one core, 2 MiB chunks that are not in the cache"
SLOW = False

CHUNKS = 64
KINDS = {
    "bf16": ("bf16", 0),
    "fp16": ("fp16", 0),
    "int8, blocks of 256": ("int8", 256),
    "top 1 %": ("topk", CHUNK // 100),
    "top 10 %": ("topk", CHUNK // 10),
    "1 bit, blocks of 256": ("onebit", 256),
}
"""{what: (codec, its argument as `wire/packing.py` takes it)}"""


def run(plan: Plan) -> list[Table]:
    """Two tables, both ways."""
    chunks = 2 if plan.tiny else CHUNKS
    rng = np.random.default_rng(0)
    pushed, weights = ([rng.standard_normal(CHUNK).astype(np.float32) for _ in range(chunks)] for _ in "pw")
    loops = {name: Loops(kind, arg, pushed, weights) for name, (kind, arg) in KINDS.items()}
    # NB: the residuals of error feedback have another shape than gradients, so the first rounds do not count.
    for loop in loops.values():
        for _ in range(2 * chunks):
            loop.encode()
    encoded: dict[str, list[Sample | None]] = {name: [] for name in loops}
    added: dict[str, list[Sample | None]] = {name: [] for name in loops}
    for number in plan.turns():
        for name, loop in loops.items():
            plan.progress(f"round {number + 1}: {name}")
            encoded[name].append(Sample(speed(loop.encode, 2 * chunks)))
            added[name].append(Sample(speed(loop.add, 2 * chunks)))
    return [
        Table(title, "GB/s of fp32", [Line(name, samples) for name, samples in found.items()])
        for title, found in (("encode", encoded), ("decode and add, one pass", added))
    ]


def speed(step: Callable[[], None], times: int) -> float:
    """GB/s of `step`, which handles one chunk: by the median of `times` calls, which an interruption does not move."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return 4 * CHUNK / statistics.median(seconds) / 1e9


class Loops:
    """One codec on chunk after chunk."""

    def __init__(self, name: str, arg: int, pushed: list[F32], weights: list[F32]) -> None:
        self._kind, self._arg, self._pushed, self._weights = packing.KINDS.index(name), arg, pushed, weights
        lossy = name not in ("bf16", "fp16")
        self._kept = [np.zeros(CHUNK, np.float32) if lossy else None for _ in pushed]
        size = packing.length(self._kind, CHUNK, arg)
        self._frames = [np.zeros(size, np.uint8) for _ in pushed]
        self._turn = cycle(range(len(pushed)))

    def encode(self) -> None:
        """Packs the next chunk."""
        i = next(self._turn)
        packing.pack(self._kind, self._kept[i], self._pushed[i], self._frames[i], self._arg)

    def add(self) -> None:
        """Unpacks the next chunk and adds it."""
        i = next(self._turn)
        packing.add(self._kind, self._frames[i], self._weights[i], -1e-9, self._arg)
