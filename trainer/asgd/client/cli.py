"""`kubectl asgd`: AsgdJobs with kubectl's options and habits. Starts fast: the cluster's client is loaded when needed.

kubectl calls it as its plugin; `kubectl-asgd` is the same command by its own name.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from asgd import __version__, exitcodes
from asgd.client.access import Access, connect_to
from asgd.client.commands import changing, getting, looking, opening, replaying, sending, shells, tell, waits
from asgd.client.commands.base import common
from asgd.client.commands.explaining import add_commands as add_explain
from asgd.errors import AsgdError
from asgd.standing import folder_gone

Connect = Callable[..., Access]
_PROG = "kubectl asgd"
_COMMON = ("-n", "--namespace", "--context", "--kubeconfig", "--request-timeout")
_PARTS = (sending, looking, tell, changing, waits, getting, replaying, opening, shells)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, and where to find more."""
        self.exit(exitcodes.USER_ERROR, f"error: {message}\nSee '{self.prog} --help' for usage.\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog=_PROG,
        description="Asynchronous SGD on Kubernetes: submit, watch, change and end AsgdJobs.",
        parents=[common()],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"kubectl asgd {__version__}")
    commands: Any = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for part in _PARTS:
        part.add_commands(commands)
    add_explain(commands)
    return top


def main(argv: Sequence[str] | None = None, connect: Connect = connect_to) -> int:
    """Runs one command; returns its exit code. Errors become one line on stderr."""
    try:
        arguments = parser().parse_args(settled(sys.argv[1:] if argv is None else argv))
        offline = getattr(arguments, "offline", None)
        code: int | None = offline(arguments) if offline else None
        if code is None:
            code = arguments.run(_access(arguments, connect), arguments)
        return code
    except FileNotFoundError:
        if not (gone := folder_gone()):
            raise
        print(f"error: {gone}", file=sys.stderr)
        return exitcodes.USER_ERROR
    except AsgdError as error:
        print(_sentence(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return exitcodes.INTERRUPTED
    except BrokenPipeError:
        # Who reads has enough, as `head`; the interpreter shall not complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exitcodes.DONE


def settled(words: Sequence[str]) -> list[str]:
    """kubectl's own options first: argparse takes no optional word that stands behind an option."""
    front, taken, rest = list[str](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            return [*front, *taken, word, *rest]
        if name in _COMMON and equals:
            front.append(word)
        elif word in _COMMON and rest:
            front += [word, rest.pop(0)]
        else:
            taken.append(word)
    return [*front, *taken]


def _access(arguments: argparse.Namespace, connect: Connect) -> Access:
    return connect(
        namespace=getattr(arguments, "namespace", ""),
        context=getattr(arguments, "context", ""),
        kubeconfig=getattr(arguments, "kubeconfig", ""),
        timeout_seconds=getattr(arguments, "request_timeout", 30.0),
    )


def _sentence(error: AsgdError) -> str:
    text = str(error)
    return text if text.startswith(("error:", "Error from", "Unable to")) else f"error: {text}"


if __name__ == "__main__":
    sys.exit(main())
