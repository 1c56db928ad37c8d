"""What is allowed but rarely meant: warnings about a checked job, one sentence each."""

from __future__ import annotations

import cmath
import math

from asgd.spec import devices
from asgd.spec.groups import kinds
from asgd.spec.types import Job

_STALE = ("asgd", "staleness-aware", "dc-asgd", "ssp")
"""Strategies whose servers put momentum on stale gradients."""

_RESTARTING = ("local-sgd", "diloco", "async-diloco", "entropy")
"""Strategies whose workers go on from what they pulled, after many steps of their own."""


def advice(job: Job) -> list[str]:
    """Warnings for the user, none of them an error."""
    return [
        *job.hints,
        *_momentum(job),
        *_chaos(job),
        *_others(job),
        *_in_place(job),
        *_words(job),
        *_floors(job),
        *_lagging(job),
        *devices.warnings(job),
    ]


def _words(job: Job) -> list[str]:
    """YAML 1.1 has words for true and false that people mean as names."""
    meant = {"false": "n, N, no or off", "true": "y, Y, yes or on"}
    return [
        f"spec.args: a key is called `{key}`; if {meant[key]} was written, it means {key} to YAML as kubectl reads it:"
        ' write it in quotes, as "n"'
        for key in job.spec.args
        if key in meant
    ]


def _others(job: Job) -> list[str]:
    """The API server can't know what is installed where."""
    name = str(job.spec.algorithm["name"])
    if "/" not in name:
        return []
    return [
        f"spec.algorithm.name: {name} must be installed wherever the job runs, on a cluster in `image` and in the image"
        " of parameterServer.podTemplate"
    ]


def _chaos(job: Job) -> list[str]:
    """Nobody is to find out from the loss that a job was a test."""
    return [
        f"spec.chaos.byzantine: {how.attack} by {len(how.workers)} of the workers: this job is a test of its strategy"
        for how in job.spec.chaos.byzantine
    ]


def _in_place(job: Job) -> list[str]:
    if not job.spec.exchange.read_in_place:
        return []
    return [
        "spec.exchange.readInPlace: true: weights that workers of a server's machine read may be half updated, and "
        "two runs of one seed differ even with one worker at a time"
    ]


def _floors(job: Job) -> list[str]:
    """Who is too far away depends on the job; what holds for one small network is no more than a guess for others."""
    own = job.spec.algorithm
    if own["name"] != "safeguard" or own.get("calibrate") or {"shortFloor", "longFloor"} & own.keys():
        return []
    return [
        "spec.algorithm: safeguard judges by the floors of the digits example; set calibrate, or take shortFloor and "
        "longFloor from largestShort and largestLong (strategyFigures in summary.json) of a clean run of this job"
    ]


def _lagging(job: Job) -> list[str]:
    codec, name = job.spec.codec, str(job.spec.algorithm["name"])
    if codec.pull not in ("topk", "onebit") or name not in _RESTARTING:
        return []
    return [
        f"spec.codec.pull: {codec.pull} with {name}: workers begin each round on weights that lag behind, some by many "
        "rounds, which lowers the largest stable learning rate as staleness does; int8 does not"
    ]


def _momentum(job: Job) -> list[str]:
    optimizer, workers = job.spec.optimizer, job.spec.workers.replicas
    # The limit is known for SGD alone.
    momentum = max(own.momentum for own in kinds(optimizer))
    heavy = momentum > 0 and optimizer.name == "sgd"
    if not heavy or workers == 1 or job.spec.algorithm["name"] not in _STALE:
        return []
    stale = workers - 1
    alone, together = (stable_learning_rate(momentum, s) for s in (0, stale))
    field = "momentum" if optimizer.momentum == momentum else "groups: momentum"
    return [
        f"spec.optimizer.{field}: {momentum:g} with {workers} asynchronous workers: at their "
        f"staleness of about {stale} the largest stable learning rate falls from {alone:.3g} to "
        f"{together:.3g} (times 1/curvature); use momentum 0, a lower learningRate or fewer workers"
    ]


def stable_learning_rate(momentum: float, staleness: int) -> float:
    """The limit of eta*h for SGD with heavy ball on a quadratic of curvature h and gradients `staleness` old.

    The characteristic roots leave the unit circle where eta = -z^(s-1) (z-1) (z-mu) is real and positive.
    """

    def phase(theta: float) -> float:
        z = cmath.exp(1j * theta)
        return (staleness - 0.5) * theta + math.pi / 2 + cmath.phase(z - momentum)

    low, high = 0.0, math.pi / (2 * staleness + 1)
    # Momentum only brings the crossing closer, so the one without momentum bounds it.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if phase(middle) < math.pi else (low, middle)
    z = cmath.exp(1j * high)
    return abs(z - 1) * abs(z - momentum)
