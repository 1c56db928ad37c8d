"""What codecs cost a core, in GB/s of fp32 on 2 MiB chunks, and the trap of adding 16 bits to float32 in one call.

    .venv/bin/python tools/codec_speed.py

Chunks come from 64 MiB, so that each is cold as in a large model. Medians; on a busy machine they are too low.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from statistics import median

import numpy as np
import torch

from asgd import kernel
from asgd.wire import packing
from asgd.wire.partition import CHUNK

COUNT = 64


def speed(what: Callable[[], object], elements: int = CHUNK, times: int = 300) -> float:
    """GB/s of float32."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - start)
    return 4 * elements / median(seconds) / 1e9


def codecs() -> None:
    """A row a codec: encoding (with error feedback where it has one), checking, adding in one pass, or in two."""
    rng = np.random.default_rng(0)
    pushed, kept, weights = (
        [rng.standard_normal(CHUNK).astype(np.float32) for _ in range(COUNT)] for _ in range(3)
    )
    scratch = np.empty(CHUNK, np.float32)
    print("| codec | encode | check | decode + apply, one pass | decode, then apply |\n|---|---|---|---|---|")
    for kind, arg in (
        (0, 0),
        (1, 0),
        (2, 256),
        (2, 1024),
        (3, CHUNK // 100),
        (3, CHUNK // 10),
        (4, 128),
        (4, 256),
    ):
        name, size = packing.KINDS[kind], packing.length(kind, CHUNK, arg)
        frames = [np.empty(size, np.uint8) for _ in range(COUNT)]
        turn = cycle(range(COUNT))

        def encode(kind: int = kind, arg: int = arg, frames: list = frames, turn: cycle = turn) -> None:  # type: ignore[type-arg]
            i = next(turn)
            packing.pack(kind, kept[i] if kind > 1 else None, pushed[i], frames[i], arg)

        def check(kind: int = kind, arg: int = arg, frames: list = frames, turn: cycle = turn) -> None:  # type: ignore[type-arg]
            packing.largest(kind, frames[next(turn)], CHUNK, arg)

        def one(kind: int = kind, arg: int = arg, frames: list = frames, turn: cycle = turn) -> None:  # type: ignore[type-arg]
            i = next(turn)
            packing.add(kind, frames[i], weights[i], -1e-9, arg)

        def two(kind: int = kind, arg: int = arg, frames: list = frames, turn: cycle = turn) -> None:  # type: ignore[type-arg]
            i = next(turn)
            packing.unpack(kind, frames[i], scratch, arg)
            kernel.axpy(weights[i], scratch, -1e-9)

        for vector in kept:
            vector[:] = 0
        # Twice round first: the residuals of error feedback have another shape than gradients.
        speed(encode, times=2 * COUNT)
        told = " | ".join(f"{speed(what):.1f}" for what in (encode, check, one, two))
        print(f"| {name} {arg or ''} | {told} |", flush=True)


def trap() -> None:
    """16-bit gradients added to float32 weights of 10 M."""
    torch.set_num_threads(1)
    size = 10_000_000
    w = torch.zeros(size)
    print("\n| 10 M weights += | GB/s of fp32 |\n|---|---|")
    for name, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        g, scratch = torch.ones(size, dtype=kind), torch.empty(CHUNK)
        whole, number = g.view(torch.int16).numpy(), packing.KINDS.index(name)

        def chunked(g: torch.Tensor = g, scratch: torch.Tensor = scratch) -> None:
            for start in range(0, size, CHUNK):
                part = w[start : start + CHUNK]
                cast = scratch[: part.numel()]
                cast.copy_(g[start : start + CHUNK])
                part.add_(cast, alpha=-1e-9)

        def fused(number: int = number, whole: object = whole) -> None:
            packing.add(number, whole, w.numpy(), -1e-9, 0)

        for how, what in (
            (f"torch, `w.add_(g_{name})`", lambda g=g: w.add_(g, alpha=-1e-9)),
            (f"torch, {name} cast by 2 MiB chunks", chunked),
            (f"kernel, {name}", fused),
        ):
            print(f"| {how} | {speed(what, size, 15):.1f} |", flush=True)  # type: ignore[arg-type]
    g32 = torch.ones(size)
    print(f"| torch, `w.add_(g)` in fp32 | {speed(lambda: w.add_(g32, alpha=-1e-9), size, 15):.1f} |")


if __name__ == "__main__":
    codecs()
    trap()
