"""What another launcher (torchrun, a batch system's script) says of its own processes: it means nothing among workers.

A script that finds WORLD_SIZE waits for a rendezvous with processes that are not there, or leaves part of its data to
them. So nothing that runs users' code gets these variables from the shell that a command was started in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

from asgd.spec.environment import LAUNCHERS, LAUNCHERS_PREFIX


def ranks_in(env: Mapping[str, str]) -> list[str]:
    """The names in `env` that belong to another launcher."""
    return sorted(name for name in env if name in LAUNCHERS or name.startswith(LAUNCHERS_PREFIX))


def without_ranks(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without them."""
    left_out = set(ranks_in(env))
    return {name: value for name, value in env.items() if name not in left_out}


def said_of_ranks(env: Mapping[str, str]) -> list[str]:
    """A line for the person who has them in the shell; none where there is nothing to say."""
    found = ranks_in(env)
    if not found:
        return []
    return [
        f"{', '.join(found)} of this shell {'is' if len(found) == 1 else 'are'} kept from the users' code: another"
        " launcher's variables mean nothing among the workers of a job, which have ASGD_WORKER_INDEX and ASGD_WORKERS"
    ]


def drop_ranks(env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Takes them out of this process's environment; returns what `said_of_ranks` says of it."""
    said = said_of_ranks(env)
    for name in ranks_in(env):
        del env[name]
    return said
