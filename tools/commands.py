"""Makes docs/reference/kubectl.md: each command of `kubectl asgd` and each of its options, from the parser itself."""

from __future__ import annotations

import argparse

from asgd.client.cli import parser
from asgd.client.commands.base import common

_HEAD = """\
# kubectl asgd, command by command

Made from `trainer/asgd/client/` by `make generate`; do not edit. [How to use it](../how-to/kubectl.md).

Options of all commands, which may stand anywhere:

"""
_COLUMNS = "| option | meaning |\n|---|---|\n"


def page() -> str:
    """The whole page as Markdown."""
    top = parser()
    text = _HEAD + _COLUMNS + "".join(_row(each) for each in common()._actions)
    return text + "".join(_section(name, command) for name, command in _commands(top))


def _commands(top: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices.items())
    return []


def _section(name: str, command: argparse.ArgumentParser) -> str:
    shared = {each.dest for each in common()._actions} | {"help"}
    own = [each for each in command._actions if each.dest not in shared]
    words = " ".join(_word(each) for each in own if not each.option_strings)
    text = (
        f"\n## kubectl asgd {name} {words}".rstrip()
        + f"\n\n{' '.join((command.description or '').split())}\n"
    )
    if own:
        text += f"\n{_COLUMNS}" + "".join(_row(each) for each in own)
    return text + (f"\n```text\n{command.epilog}\n```\n" if command.epilog else "")


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{_word(action)}`"
    value = f" `{_value(action)}`" if action.option_strings and action.nargs != 0 else ""
    says = (action.help or "").replace("|", "\\|")
    return f"| {names}{value} | {says} |\n"


def _word(action: argparse.Action) -> str:
    value = _value(action)
    return {"?": f"[{value}]", "*": f"[{value}...]"}.get(str(action.nargs), value)


def _value(action: argparse.Action) -> str:
    choices = "\\|".join(str(each) for each in action.choices or ())
    return choices or str(action.metavar or action.dest.upper())
