"""How many threads a process computes with: the user's word, else its share of the machine's cores. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from asgd.spec.environment import Env
from asgd.spec.types import JobSpec


def threads_told(spec: JobSpec, env: Mapping[str, str]) -> int | None:
    """What the job says, `asgd run` has told this process, or the user's environment; None if nobody has.

    OMP_NUM_THREADS may be a list for nested regions, of which the first counts; what is no number from 1 says nothing.
    """
    if spec.workers.threads:
        return spec.workers.threads
    for name in (Env.THREADS, "OMP_NUM_THREADS"):
        first = env.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first):
            return int(first)
    return None


def share(spec: JobSpec, cores: int, *, evaluator: bool) -> int:
    """Of `cores` by all processes of the job on one machine: workers, servers and the evaluator."""
    return max(1, cores // (spec.workers.replicas + spec.parameter_server.shards + evaluator))
