"""Names for several runs on one page: as short as they can be and never twice the same. Pure.

A run is called after its job and algorithm. Where that says the same of several, what differs between them is
added: workers, shards, seed, whether time is virtual; then the folder; and a number when even that is the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from msgspec import Struct


class Named(Struct, frozen=True):
    """What a name can be made of."""

    job: str
    algorithm: str
    workers: int
    shards: int
    seed: int
    folder: str
    simulated: bool = False


_MORE: tuple[Callable[[Named], str], ...] = (
    lambda run: f"{run.workers} worker{'' if run.workers == 1 else 's'}",
    lambda run: f"{run.shards} shard{'' if run.shards == 1 else 's'}",
    lambda run: f"seed {run.seed}",
    lambda run: "simulated" if run.simulated else "real",
)


def labels(runs: Sequence[Named]) -> list[str]:
    """A name for each run, in their order."""
    names = [_plain(run) for run in runs]
    for more in _MORE:
        names = _lengthen(names, [more(run) for run in runs])
    names = _lengthen(names, [run.folder for run in runs], always=True)
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names


def _plain(run: Named) -> str:
    if not run.job or not run.algorithm:
        return run.job or run.algorithm or run.folder
    return run.job if run.algorithm in run.job else f"{run.job} ({run.algorithm})"


def _lengthen(names: list[str], more: list[str], *, always: bool = False) -> list[str]:
    """Adds `more` to the names that several runs bear, where it differs among them (`always`: whether or not)."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for name, word in zip(names, more, strict=True):
        groups[name].add(word)
    count = Counter(names)
    return [
        f"{name}, {word}" if count[name] > 1 and (always or len(groups[name]) > 1) else name
        for name, word in zip(names, more, strict=True)
    ]
