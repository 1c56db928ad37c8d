"""The goals that this project has set itself, checked against whatever a page holds of them (by `judging.py`).

Ratios are taken round by round, ours over theirs. A page without the lines of a goal says nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from asgd_bench.judging import Goal, find, judge
from asgd_bench.results import Case, Page, Table

_TCP = "TCP, 10M parameters, {} workers"
_HOST = "same host, 10M parameters, 2 workers"
_PATH = [
    *(Goal("update-path", _TCP.format(w), "ours", 0.9, "bare TCP sockets (limit)") for w in (2, 4)),
    *(Goal("update-path", _TCP.format(w), "ours", 1.4, "torch RPC, TCP") for w in (2, 4)),
    *(Goal("update-path", _TCP.format(w), "ours", 2.5, "MXNet kvstore (ps-lite)") for w in (2, 4)),
    Goal("update-path", _TCP.format(2), "ours", 5.0, "Ray, its tutorial"),
    Goal("update-path", _TCP.format(4), "ours", 3.7, "Ray, its tutorial"),
    *(Goal("update-path", _TCP.format(w), "ours", 0.85, "torchft pattern (gloo pairs)") for w in (2, 4)),
    Goal("update-path", _TCP.format(2), "ours, bf16", 1.6, "torch RPC, TCP"),
    Goal("update-path", _TCP.format(2), "ours, encrypted", 0.6, "ours"),
    Goal("update-path", _HOST, "ours", 3.0, "torch RPC, shared memory"),
    Goal("update-path", _HOST, "ours, read in place", 7.0, "torch RPC, shared memory"),
    Goal("update-path", _HOST, "ours, read in place", 0.9, "Hogwild (may lose updates)"),
]

_SMALL = "TCP, 5,000 parameters, 2 workers"
_SLOW = "1 Gbit/s, 10M parameters, 2 workers"
_CARRIED = 125e6 / 4e7
"""fp32 updates/s of 10M parameters on 1 Gbit/s if its bytes were payload only."""
_MESSAGES_AND_LINKS = [
    Goal("small-messages", _SMALL, "ours", 5000),
    Goal("small-messages", _SMALL, "ours", 3.0, "torch RPC, TCP"),
    Goal("slow-link", _SLOW, "ours", 0.95 * _CARRIED),
    Goal("slow-link", _SLOW, "ours, int8+EF both ways", 3.8, "ours"),
    Goal("slow-link", _SLOW, "ours, top 1 %+EF, pull top 5 %", 15.0, "ours"),
    Goal("exporter", "TCP, 5,000 parameters, 2 workers", "on, scraped every second", 0.99, "off"),
    Goal("page", "CPU of asgd run, digits, 4,810 parameters, 2 workers", "on", 0.99, "off"),
]

_CHOICES = ("bf16", "int8+EF both ways", "top 1 %+EF, pull top 5 %")
_EXAMPLES = ("digits", "mnist", "charlm")
_KINDS = ("bf16", "fp16", "int8, blocks of 256", "top 1 %", "top 10 %", "1 bit, blocks of 256")
_CODECS = [
    *(
        Goal("codecs", f"{example}, accuracy", name, -0.5, "fp32", points=True)
        for name in _CHOICES
        for example in _EXAMPLES
    ),
    # int8's scales are a float32 for 256 bytes: 3.94 times fewer are "4x".
    *(Goal("codecs", f"{example}, bytes of an update", _CHOICES[1], 3.9, "fp32") for example in _EXAMPLES),
    *(Goal("codecs", f"{example}, bytes of an update", _CHOICES[2], 18.0, "fp32") for example in _EXAMPLES),
    *(Goal("encoders", "encode", name, 4.0) for name in _KINDS),
]

_EQUAL, _UNEQUAL = "all equal, {}", "one worker 5x slower, {}"
_TO = "to 95 % accuracy"
_DDP = "DDP (gloo)"
_KEPT = (3 + 1 / 5) / 4
"""Of the healthy speed: what four workers can give together when one is five times slower."""
_TRAINING = [
    Goal("stragglers", _EQUAL.format("speed"), "ours", 1.3, _DDP),
    Goal(
        "stragglers",
        _UNEQUAL.format("speed"),
        "ours",
        bound=0.97,
        theirs="ours",
        beside=_EQUAL.format("speed"),
        times=_KEPT,
    ),
    Goal("stragglers", _UNEQUAL.format("speed"), "ours", 3.5, _DDP),
    Goal("stragglers", _EQUAL.format(_TO), "ours", 1.15, _DDP),
    Goal("stragglers", _UNEQUAL.format(_TO), "ours", 3.0, _DDP),
    Goal("scaling", "digits-mlp, 20 ms step", "4 workers", 0.97, "1 workers", times=4),
    Goal("scaling", "wide, 200 ms step", "4 workers", 0.95, "1 workers", times=4),
]

_JOIN = "10M parameters, TCP, two busy workers"
_AGAIN = "kill -9 to the next accepted push"
_SAVING = "50M parameters, two workers with a step of 0.1 s"


def _server_mib(arrays: int) -> float:
    """Weights of 10M parameters, the optimizer's arrays, one spare copy, and 70 MiB."""
    return 4 * 10_000_000 * (1 + arrays + 1) / (1 << 20) + 70


_LIFE = [
    Goal(
        "join", f"a third worker, {_JOIN}", "model built to the weights being there: it works", 0.1, most=True
    ),
    Goal("join", f"the others, {_JOIN}", "in the second of the join", 0.98, "before"),
    *(
        Goal("recovery", _AGAIN, f"{size} parameters, forked", most, most=True)
        for size, most in (("10M", 0.4), ("50M", 0.8))
    ),
    Goal("checkpoint", _SAVING, "the second of the checkpoint", 0.9, "the second before"),
    Goal("startup", "from exec to done", "asgd --help", 0.3, most=True),
    *(
        Goal("server-memory", "one shard of 10M parameters, 2 workers", name, _server_mib(arrays), most=True)
        for name, arrays in (("SGD", 0), ("momentum", 1), ("Adam", 2))
    ),
]

GOALS: Sequence[Goal] = [*_PATH, *_MESSAGES_AND_LINKS, *_CODECS, *_TRAINING, *_LIFE]


def check(page: Page) -> Case | None:
    """A case of its own with a line for each goal that the page tells of; None when it tells of none."""
    found = find(page)
    lines = [line for goal in GOALS if (line := judge(goal, found))]
    if not lines:
        return None
    about = "the goals of the project that this page tells of, ratios within a round"
    return Case(
        "goals", about, 0.0, [Table("ours / theirs, or the figure itself", "median [min..max]", lines)]
    )
