"""What a simulated cluster is like: how long gradients take, how fast wires and servers are, who is slow, pauses or
dies.

Each option of `asgd simulate` is read here into a number or a small frozen value; wrong ones are told in one
sentence. Times are seconds, sizes bytes. All randomness comes from generators seeded by (seed, worker).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from asgd.errors import UserError
from asgd.spec.types import Byzantine

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class ComputeTime:
    """One gradient's seconds: `constant:S`, `uniform:LOW,HIGH` or `lognormal:MEAN,SIGMA` (sigma of the log)."""

    kind: str
    first: float
    second: float = 0.0

    def draw(self, random: np.random.Generator) -> float:
        """Seconds of one gradient."""
        if self.kind == "constant":
            return self.first
        if self.kind == "uniform":
            return self.first + (self.second - self.first) * float(random.random())
        # The mean of a lognormal is exp(mu + sigma^2/2): users give the mean they have measured.
        return self.first * math.exp(self.second * float(random.standard_normal()) - self.second**2 / 2)


@dataclass(frozen=True, slots=True)
class MeasuredTime:
    """One gradient's seconds as a real run had them: `bounds` (low, high) of buckets, `shares` that rise to 1."""

    bounds: tuple[tuple[float, float], ...]
    shares: tuple[float, ...]

    def draw(self, random: np.random.Generator) -> float:
        """Seconds of one gradient; within a bucket, any is as likely as any other."""
        low, high = self.bounds[min(bisect_right(self.shares, random.random()), len(self.bounds) - 1)]
        return low + (high - low) * float(random.random())


@dataclass(frozen=True, slots=True)
class Mishap:
    """Worker `index` is gone (or stands still) from second `at` on, for `seconds`; inf: for good."""

    index: int
    at: float
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class World:
    """Everything about a simulated cluster that the job itself does not say."""

    compute: ComputeTime | MeasuredTime = ComputeTime("lognormal", 0.1, 0.1)
    stragglers: tuple[tuple[int, float], ...] = ()
    latency: float = 0.0
    bandwidth: float = math.inf
    """Bytes a second of each process's link, in each direction."""
    server_seconds: float = 0.0
    """What a server spends on one message, beside `server_seconds_per_byte` on its payload."""
    server_seconds_per_byte: float = 0.0
    deaths: tuple[Mishap, ...] = ()
    pauses: tuple[Mishap, ...] = ()
    hangs: tuple[Mishap, ...] = ()
    """Workers whose gradient of that moment never comes, while they show signs of life."""
    joins: tuple[Mishap, ...] = ()
    nodes: int = 1
    """Machines that workers are dealt to, one after the other."""
    attacks: tuple[Byzantine, ...] = ()
    """Workers that lie, beside those of `spec.chaos` (`algorithms/attacks.py`)."""
    detect_seconds: float = 1.0
    """How long after a worker's death the parameter servers are told."""


def compute_time(text: str) -> ComputeTime:
    """Raises UserError naming --compute."""
    kind, _, rest = text.partition(":")
    numbers = _numbers(rest)
    wanted = {"constant": 1, "uniform": 2, "lognormal": 2}.get(kind)
    if wanted is None or numbers is None or len(numbers) != wanted or min(numbers) < 0 or numbers[0] <= 0:
        raise UserError(
            f"--compute: {text!r} is not a model of compute time; allowed: constant:SECONDS, uniform:LOW,HIGH,"
            " lognormal:MEAN,SIGMA with positive seconds"
        )
    if kind == "uniform" and numbers[1] < numbers[0]:
        raise UserError(f"--compute: {text!r} has its bounds the wrong way round; allowed: uniform:LOW,HIGH")
    return ComputeTime(kind, *numbers)


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


def straggler(text: str, workers: int) -> tuple[int, float]:
    """`INDEX:FACTOR`, a worker that takes FACTOR times as long. Raises UserError."""
    index, _, factor = text.partition(":")
    numbers = _numbers(factor)
    if not index.isdecimal() or int(index) >= workers or not numbers or len(numbers) != 1 or numbers[0] <= 0:
        raise UserError(
            f"--straggler: {text!r} must be INDEX:FACTOR with an index below {workers} and a factor above 0"
        )
    return int(index), numbers[0]


def mishap(option: str, text: str) -> Mishap:
    """`INDEX@SECOND` or `INDEX@SECOND+SECONDS`. Raises UserError naming `option`."""
    found = re.fullmatch(r"(\d+)@([0-9.eE-]+)(?:\+([0-9.eE-]+))?", text)
    numbers = _numbers(",".join(filter(None, found.groups()[1:]))) if found else None
    if found is None or numbers is None or min(numbers) < 0:
        raise UserError(f"{option}: {text!r} must be INDEX@SECOND, or INDEX@SECOND+SECONDS for how long")
    return Mishap(int(found[1]), *numbers)


def count(option: str, text: str) -> int:
    """A whole number from 1. Raises UserError naming `option`."""
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{option}: {text!r} must be a whole number of at least 1")
    return int(text)


def amount(option: str, text: str) -> float:
    """A positive number with k, M or G behind it if need be. Raises UserError naming `option`."""
    found = re.fullmatch(r"([0-9.]+(?:[eE][+-]?\d+)?)([kMG]?)", text)
    numbers = _numbers(found[1]) if found else None
    if found is None or not numbers or numbers[0] < 0:
        raise UserError(f"{option}: {text!r} must be a number of at least 0, as 0.001, 125M or 1.25G")
    return numbers[0] * _UNITS[found[2]]
