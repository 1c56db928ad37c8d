"""Makes the page of the command line from the parsers themselves: what `--help` says, of every command.

Not their own text, which another version of Python breaks and words otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from asgd import cli, exitcodes
from asgd_operator import main as operator

HEAD = """\
# Command line

What `--help` says, of every command, in tables. Made from the programs by `make generate`; do not edit.
[The README](../../README.md#while-it-runs) shows them at work.
`asgd bench` is a package of its own (`pip install ./bench`).

"""
END = """\
## Exit codes

[What to do](../runbook.md#exit-codes) for each.

| code | meaning |
|---|---|
"""
ELSEWHERE = ("bench",)
MEANINGS = {
    "set": "as for run",
    "job": "as for run",
    "jobs": "job files",
    "version": "print the version and exit",
}
"""Of what has no sentence where it stands."""
VERSION = "show program's version number and exit"
CODES = {
    "DONE": "done",
    "USER_ERROR": "your input is wrong; one line says which field, which value, and what is allowed",
    "BROKEN": "of `asgd simulate --faults`: a promise does not hold",
    "NOT_EVALUATED": "of `asgd run`: trained and saved, but the last evaluation failed",
    "TRY_AGAIN": "try again: something outside did not answer",
    "FENCED": "of a parameter server: another run has taken its place in the checkpoint store",
    "DIVERGED": "training diverged",
    "INTERRUPTED": "interrupted",
    "DRAINED": "drained: asked to leave, and left in order",
}


def page() -> str:
    """The whole page as Markdown."""
    text = HEAD
    for parser in (cli.parser(), operator.parser()):
        text += f"## {parser.prog}\n\n{parser.description}\n\n{_options(parser)}"
        for name, says, command in _commands(parser):
            if name not in ELSEWHERE:
                said = f"{says[:1].upper()}{says[1:]}.\n\n    {_usage(command)}"
                text += f"### {parser.prog} {name}\n\n{said}\n\n{_options(command)}"
    text += END
    codes = {name: value for name, value in vars(exitcodes).items() if name.isupper()}
    return text + "".join(f"| {value} | {CODES[name]} |\n" for name, value in codes.items())


def _usage(parser: argparse.ArgumentParser) -> str:
    shown = _shown(parser)
    words = [parser.prog, *(["[OPTIONS]"] if any(action.option_strings for action in shown) else [])]
    for action in shown:
        if not action.option_strings:
            words.append(f"{_named(action)} ..." if action.nargs == "+" else _named(action))
    return " ".join(words)


def _options(parser: argparse.ArgumentParser) -> str:
    """A row for each argument and option."""
    rows = [f"| `{_named(action)}` | {_meaning(action)} |\n" for action in _shown(parser)]
    return "| | |\n|---|---|\n" + "".join(rows) + "\n" if rows else ""


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [
        found
        for found in parser._actions
        if not isinstance(found, hidden) and found.help != argparse.SUPPRESS
    ]


def _named(action: argparse.Action) -> str:
    takes = action.metavar or (",".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return str(takes)
    return " ".join([action.option_strings[-1], *([str(takes)] if action.nargs != 0 else [])])


def _meaning(action: argparse.Action) -> str:
    text = (MEANINGS.get(action.dest) if action.help in (None, VERSION) else action.help) or ""
    return " ".join((text % vars(action)).replace("|", "\\|").split())


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """(name, its sentence, parser) of each."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            says = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield name, says[name], command
