"""`completion`: a shell's script."""

from __future__ import annotations

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add
from asgd.client.completion import SCRIPTS

_HOW = """\
kubectl completes `kubectl asgd` by itself: it calls kubectl_complete-asgd, which is installed beside kubectl-asgd.
For the command kubectl-asgd by its own name:
  source <(kubectl asgd completion bash)"""


def add_commands(commands: Commands) -> None:
    completion = add(commands, "completion", _with_cluster, "print a shell's completion script", epilog=_HOW)
    completion.add_argument("shell", choices=tuple(SCRIPTS))
    completion.set_defaults(offline=_completion)


def _completion(arguments: Arguments) -> int:
    print(SCRIPTS[arguments.shell], end="")
    return 0


def _with_cluster(access: Access, arguments: Arguments) -> int:
    return _completion(arguments)
