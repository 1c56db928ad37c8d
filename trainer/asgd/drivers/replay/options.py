"""The options of `asgd replay`, and what must be set before anything that computes is loaded."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
