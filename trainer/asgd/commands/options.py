"""The options of `asgd simulate` and `asgd replay`; apart from both so that the command line starts without them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """The options of `asgd simulate` beside those of `asgd run`."""
    option = parser.add_argument
    option("--workers", type=int, metavar="N", help="as --set workers.replicas=N")
    option("--seed", type=int, metavar="N", help="as --set seed=N")
    option(
        "--compute",
        default="",
        metavar="MODEL",
        help="of a gradient: constant:S, uniform:LOW,HIGH or lognormal:MEAN,SIGMA (default: lognormal:0.1,0.1)",
    )
    option(
        "--calibrate",
        metavar="DIR",
        help="take times of gradients, exchanges, servers and stragglers from a real run; other options win",
    )
    _add_cluster(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    """What the cluster is like, and what goes wrong in it."""
    option = parser.add_argument
    option(
        "--straggler",
        action="append",
        default=[],
        metavar="INDEX:FACTOR",
        help="a worker that takes FACTOR times as long",
    )
    option("--latency", default="", metavar="S", help="seconds on the wire, one way (default: 0)")
    option(
        "--bandwidth",
        default="",
        metavar="B",
        help="bytes a second of each link, as 125M (default: no limit)",
    )
    option(
        "--server-speed",
        default="",
        metavar="B",
        help="bytes a second that a server takes in (default: no limit)",
    )
    option(
        "--nodes", default="1", metavar="N", help="machines that workers are dealt to in turn (default: 1)"
    )
    _add_mishaps(option)


def _add_mishaps(option: Callable[..., Any]) -> None:
    """What goes wrong, and who comes late."""
    option(
        "--death",
        action="append",
        default=[],
        metavar="INDEX@S[+S]",
        help="a worker dies at a second, and is back after so many",
    )
    option(
        "--pause",
        action="append",
        default=[],
        metavar="INDEX@S+S",
        help="a worker stands still from a second on, for so many",
    )
    option(
        "--hang",
        action="append",
        default=[],
        metavar="INDEX@S",
        help="a worker never finishes its batch from a second on, but shows signs of life",
    )
    option(
        "--attack",
        action="append",
        default=[],
        metavar="KIND:INDEX,...",
        help="workers that lie, as sign-flip:0,1",
    )
    option("--join", action="append", default=[], metavar="INDEX@S", help="a worker that comes later")
    option(
        "--faults",
        type=int,
        metavar="SEED",
        help="rehearse the job under faults that follow from SEED, with a task that costs nothing; the exit code is 3"
        " if something breaks that must hold",
    )


def add_replay(parser: argparse.ArgumentParser) -> None:
    """The command line of `asgd replay`."""
    parser.add_argument("run", metavar="DIR", help="where `asgd run` left its results")
    parser.add_argument("--until", type=int, metavar="UPDATE", help="end after this update")
    parser.add_argument("--dump", metavar="FILE", help="write the weights to a safetensors file")
    parser.add_argument("--json", action="store_true", help="say the result as JSON")


def set_threads(run: Path) -> None:
    """As many threads as the run's processes had. NB: libraries read this once, when they are loaded."""
    try:
        told = json.loads((run / "replay" / "run.json").read_text(encoding="utf-8"))
        os.environ["OMP_NUM_THREADS"] = str(told["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # the replay says what is wrong
