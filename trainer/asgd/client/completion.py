"""Completion in shells: what may stand next, by the parser itself, and names of jobs by the cluster.

kubectl calls `kubectl_complete-asgd WORD... PART` on Tab; the scripts of `kubectl asgd completion` call the same for
`kubectl-asgd`. The last line is cobra's directive: 4 means that no names of files are wanted, 0 that they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from asgd.errors import AsgdError

FILES, NO_FILES = 0, 4
_NAMES = ("name", "names")
_BASH = """\
_kubectl_asgd() {
    local IFS=$'\\n' lines
    lines=($(kubectl_complete-asgd "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [ "${lines[-1]}" = ":0" ] && compopt -o default
    unset 'lines[-1]'
    COMPREPLY=($(compgen -W "${lines[*]%%$'\\t'*}" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _kubectl_asgd kubectl-asgd
"""
_ZSH = """\
#compdef kubectl-asgd
_kubectl_asgd() {
    local -a lines
    lines=("${(@f)$(kubectl_complete-asgd "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ "${lines[-1]}" == ":0" ]] && _files
    compadd -- "${(@)${(@)lines[1,-2]}%%$'\\t'*}"
}
compdef _kubectl_asgd kubectl-asgd
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


def candidates(
    words: Sequence[str], parser: argparse.ArgumentParser, names: Callable[[argparse.Namespace], list[str]]
) -> tuple[list[str], int]:
    """What may stand in place of the last of `words`, and the directive. `names`: of jobs, by the options before it."""
    *before, part = words or [""]
    commands = _commands(parser)
    command = next((word for word in before if word in commands), "")
    if not command:
        options = _options(parser) if part.startswith("-") else []
        said = [f"{name}\t{text}" for name, text in _helps(parser).items()]
        return _starting(options or said, part), NO_FILES
    chosen = commands[command]
    previous = before[-1] if before else ""
    action = _option(chosen, previous)
    if action is not None and action.nargs != 0:
        return _starting(
            [str(each) for each in action.choices or ()], part
        ), NO_FILES if action.choices else FILES
    if part.startswith("-"):
        return _starting(_options(chosen), part), NO_FILES
    places = [each for each in chosen._actions if not each.option_strings]
    if not places:
        return [], NO_FILES
    if places[0].dest in _NAMES and (places[0].nargs == "*" or not _placed(before, command, chosen)):
        return _starting(names(_given(before)), part), NO_FILES
    if places[0].choices:
        return _starting([str(each) for each in places[0].choices], part), NO_FILES
    return [], FILES if places[0].dest == "path" else NO_FILES


def main() -> int:
    """Prints what may stand next; nothing where the cluster does not answer."""
    from asgd.client.access import connect_to
    from asgd.client.cli import parser

    def names(given: argparse.Namespace) -> list[str]:
        try:
            access = connect_to(
                namespace=given.namespace or "",
                context=given.context or "",
                kubeconfig=given.kubeconfig or "",
                timeout_seconds=3.0,
            )
            return [str(each["metadata"]["name"]) for each in access.jobs()]
        except AsgdError:
            return []

    found, directive = candidates(sys.argv[1:], parser(), names)
    print("\n".join([*found, f":{directive}"]))
    return 0


def _given(words: Sequence[str]) -> argparse.Namespace:
    """kubectl's options among the words."""
    found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    found.add_argument("-n", "--namespace")
    found.add_argument("--context")
    found.add_argument("--kubeconfig")
    return found.parse_known_args(list(words))[0]


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _helps(parser: argparse.ArgumentParser) -> dict[str, str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {each.dest: each.help or "" for each in action._choices_actions}
    return {}


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings if name.startswith("--")]


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return next((action for action in parser._actions if word in action.option_strings), None)


def _placed(before: Sequence[str], command: str, parser: argparse.ArgumentParser) -> bool:
    """A word without an option stands after the command already."""
    words, free = list(before[list(before).index(command) + 1 :]), False
    while words:
        word = words.pop(0)
        action = _option(parser, word)
        if action is not None and action.nargs != 0 and words:
            words.pop(0)
        elif not word.startswith("-"):
            free = True
    return free


def _starting(words: Sequence[str], part: str) -> list[str]:
    return [word for word in words if word.startswith(part)]


if __name__ == "__main__":
    sys.exit(main())
