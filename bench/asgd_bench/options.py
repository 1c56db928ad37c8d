"""The command line of `asgd bench`: what the entry point `asgd.commands` names. What it does is loaded when it runs."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `command.main` reads, and `run`, which calls it."""
    parser.set_defaults(run=_run)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases to run (default: all); see --list")
    parser.add_argument("--list", action="store_true", help="say what the cases are")
    parser.add_argument("--json", metavar="FILE", help="leave every sample as JSON")
    parser.add_argument(
        "--output", metavar="FILE", help="leave the page: .html, or .md with a picture beside it"
    )
    parser.add_argument("--quick", action="store_true", help="about two minutes: fewer cases, sizes, rounds")
    parser.add_argument("--rounds", type=_count, metavar="N", help="rounds of each measurement (default: 5)")
    # Smallest sizes, peers without torch: proves that everything works, measures nothing.
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)


def _run(arguments: argparse.Namespace) -> int:
    from asgd_bench import command

    return command.main(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)
