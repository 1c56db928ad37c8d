"""What a worker's log says of parameter groups: a line an optimizer, however many parameters a group has. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asgd.algorithms.base import LocalRule
from asgd.spec.groups import amount, counted, in_short, listed
from asgd.spec.types import Optimizer
from asgd.wire.rule import Rule, Rules, unpack
from asgd.worker.optimizing.stepping import TaskOptimizer

Layout = Sequence[tuple[str, Sequence[int]]]
"""(name, shape) in flat order."""


def group_lines(
    of_job: Optimizer, brought: bytes, layout: Layout, local: LocalRule | None = None
) -> Iterator[str]:
    """Lines about what has several groups: the job's own optimizer, or each that users' code has `brought` (as in
    `Hello.rule`). `local`: how this worker steps."""
    sizes = {name: math.prod(shape) for name, shape in layout}
    told = unpack(brought)
    if isinstance(told, Rules):
        names, start = list(sizes), 0
        for (model, rule), size in zip(told.models.items(), told.sizes, strict=True):
            own: dict[str, int] = {}
            while sum(own.values()) < size:
                own[names[start]] = sizes[names[start]]
                start += 1
            yield from _lines(f"parameter groups of {model}", rule, own)
    elif told is not None:
        yield from _lines("parameter groups", told, sizes)
    elif isinstance(local, TaskOptimizer):
        yield from _of_users("parameter groups", local.groups, sizes)
    elif of_job.groups:
        yield f"parameter groups: {'; '.join(counted(of_job, list(sizes.items())))}"


def _lines(head: str, rule: Rule, sizes: Mapping[str, int]) -> Iterator[str]:
    if rule.kind:
        yield from _of_users(head, rule.groups, sizes)
    elif rule.optimizer and rule.optimizer.groups:
        yield f"{head}: {'; '.join(counted(rule.optimizer, list(sizes.items())))}"


def _of_users(head: str, groups: Sequence[Mapping[str, Any]], sizes: Mapping[str, int]) -> Iterator[str]:
    """`group 0 (lr 0.01): 14 tensors, 4,928 parameters, layers…lora_A.weight; group 1 ...`, with what differs."""
    if len(groups) < 2 and len(groups[0].get("params", sizes)) == len(sizes):
        return
    alike = {name for name, value in groups[0].items() if all(group.get(name) == value for group in groups)}
    parts, left = [], dict(sizes)
    for number, group in enumerate(groups):
        shown = {
            name: value for name, value in group.items() if name == "lr" or name not in {*alike, "params"}
        }
        own = [left.pop(name) for name in group["params"]]
        parts.append(f"group {number} ({listed(shown)}): {amount(own)}, {in_short(group['params'])}")
    rest = [f"in none: {amount(list(left.values()))}, {in_short(list(left))}"] if left else []
    yield f"{head}: {'; '.join([*parts, *rest])}"
