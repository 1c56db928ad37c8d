"""Commands that another distribution brings, found by an entry point when they are called and not before.

`asgd bench` is one: its package `asgd-bench` is no part of the product. The entry point (group `asgd.commands`, named
like the command) is a function that adds the command's options to its parser, with `run`, the function that does it.
"""

from __future__ import annotations

import argparse

from asgd.errors import UserError

GROUP = "asgd.commands"


def add_arguments(parser: argparse.ArgumentParser, command: str, distribution: str) -> None:
    """Adds the options of `command`. Raises UserError when `distribution`, which brings it, is not installed."""
    from importlib.metadata import entry_points  # 20 ms, which no other command needs

    found = [*entry_points(group=GROUP, name=command)]
    if not found:
        raise UserError(
            f"asgd {command}: its package {distribution} is not installed; in a clone of the project run"
            f" `pip install ./{command}`"
        )
    found[0].load()(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command whose options were added; returns its exit code."""
    code: int = arguments.run(arguments)
    return code
