"""`optimizer.groups`: what the CRD's schema cannot say of two of its fields, and which group has a parameter.

A structural schema knows no field that is a number or text, or text or a list of it. So the API server looks at bounds
and patterns only; kinds are checked here, and again by whoever reads a checked job.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from asgd.errors import UserError
from asgd.spec.problems import Path, Problem
from asgd.spec.types import Group, Optimizer

NEAR = 3
"""Names that an error shows."""
_AT: Path = ("spec", "optimizer", "groups")


def check_groups(document: dict[str, Any]) -> Iterator[Problem]:
    """The values of a document that fits the schema, and are of no kind that their field takes."""
    for number, group in enumerate(document["spec"]["optimizer"]["groups"]):
        match, rate = group["match"], group.get("learningRate", 0)
        texts = match if isinstance(match, list) else [match]
        if not all(isinstance(text, str) and text for text in texts):
            yield Problem(
                (*_AT, number, "match"), f"{_raw(match)} is neither a pattern, as head.*, nor a list of them"
            )
        if isinstance(rate, bool) or not isinstance(rate, int | float | str):
            yield Problem(
                (*_AT, number, "learningRate"), f"{_raw(rate)} is neither a number nor a multiple, as 10x"
            )


def patterns(group: Group) -> tuple[str, ...]:
    """Those of `match`."""
    return (group.match,) if isinstance(group.match, str) else group.match


def assigned(optimizer: Optimizer, names: Sequence[str]) -> list[int]:
    """The number of each parameter's group, -1 for none: the first that matches its name.

    Raises UserError where a group is left without any of `names`.
    """
    found = [_first(optimizer.groups, name) for name in names]
    for number, group in enumerate(optimizer.groups):
        if number not in found:
            raise UserError(_empty(number, group, names, found))
    return found


def settings(optimizer: Optimizer, group: int) -> Optimizer:
    """The optimizer of the parameters of group number `group`, without groups of its own; -1: of those without one."""
    given: dict[str, Any] = {}
    if group >= 0:
        own = optimizer.groups[group]
        given = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
        del given["match"]
        given["learning_rate"] = optimizer.learning_rate * multiple(optimizer, group)
    values = {name: getattr(optimizer, name) for name in Optimizer.__struct_fields__}
    return Optimizer(**values | given | {"groups": ()})


def kinds(optimizer: Optimizer) -> list[Optimizer]:
    """All that can hold for a parameter: the optimizer's own, then each group's."""
    return [settings(optimizer, group) for group in range(-1, len(optimizer.groups))]


def largest_decay(optimizer: Optimizer, names: Iterable[str]) -> float:
    """Of the parameters `names`, which need not be trained."""
    return max(
        (settings(optimizer, _first(optimizer.groups, name)).weight_decay for name in names), default=0.0
    )


def multiple(optimizer: Optimizer, group: int) -> float:
    """The group's learning rate as a multiple of the optimizer's; 1 for -1."""
    rate = optimizer.groups[group].learning_rate if group >= 0 else None
    if rate is None:
        return 1.0
    return float(rate.removesuffix("x")) if isinstance(rate, str) else rate / optimizer.learning_rate


def counted(optimizer: Optimizer, sizes: Sequence[tuple[str, int]]) -> list[str]:
    """What each group is, and how much it has of the parameters `sizes`, (name, elements); those without one come last.

    Raises UserError as `assigned` does.
    """
    groups = assigned(optimizer, [name for name, _ in sizes])
    lines = []
    for number in [*range(len(optimizer.groups)), -1]:
        own = [size for found, (_, size) in zip(groups, sizes, strict=True) if found == number]
        lines.append(f"{_named(optimizer.groups[number]) if number >= 0 else 'all others'}: {amount(own)}")
    return lines


def amount(sizes: Sequence[int]) -> str:
    """`2 tensors, 74 parameters`."""
    return f"{len(sizes)} {'tensor' if len(sizes) == 1 else 'tensors'}, {sum(sizes):,} parameters"


def _named(group: Group) -> str:
    given = {field: value for field, value in msgspec.to_builtins(group).items() if value is not None}
    del given["match"]
    return f"{in_short(patterns(group))} ({listed(given) or 'as all others'})"


def listed(settings: Mapping[str, Any]) -> str:
    """`lr 0.01, betas (0.9, 0.95)`."""
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def in_short(names: Sequence[str]) -> str:
    """Few names as they are; of many what they have in common, as `layers…lora_A.weight`, or the first of them."""
    if len(names) <= NEAR:
        return ", ".join(names)
    words = [name.split(".") for name in names]
    first = _alike(words)
    last = _alike([own[first:][::-1] for own in words])
    if not first and not last:
        return _some(names)
    return f"{'.'.join(words[0][:first])}…{'.'.join(words[0][len(words[0]) - last :])}"


def _alike(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with; at least one word of each is left over."""
    count = 0
    for each in list(zip(*words, strict=False))[:-1]:
        if len(set(each)) > 1:
            break
        count += 1
    return count


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _raw(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _first(groups: Sequence[Group], name: str) -> int:
    fits = (number for number, group in enumerate(groups) if _fits(group, name))
    return next(fits, -1)


def _fits(group: Group, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns(group))


def _empty(number: int, group: Group, names: Sequence[str], found: Sequence[int]) -> str:
    field, value = f"spec.optimizer.groups[{number}].match", ", ".join(patterns(group))
    taken = {name: other for name, other in zip(names, found, strict=True) if _fits(group, name)}
    if not taken:
        near = ", ".join(_near(group, names))
        return f"{field}: {value} matches no parameter that is trained; the nearest names are {near}"
    earlier = ", ".join(f"groups[{other}]" for other in sorted({*taken.values()}))
    return (
        f"{field}: {value} is left without a parameter, for {earlier} has {_some(list(taken))} already; the first group"
        " that matches a parameter has it"
    )


def _near(group: Group, names: Sequence[str]) -> list[str]:
    """The few of `names` that are most like one of the group's patterns, as a whole or in one of their words."""
    wanted = [pattern.strip("*?.") for pattern in patterns(group)]

    def likeness(name: str) -> float:
        words = (name, *name.split("."))
        return max(difflib.SequenceMatcher(None, text, word).ratio() for text in wanted for word in words)

    return sorted(names, key=likeness, reverse=True)[:NEAR]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NEAR]) + (f" and {len(names) - NEAR} more" if len(names) > NEAR else "")
