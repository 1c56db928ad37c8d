"""Where the steps of a script's, or a task's, own optimizer are made: on the servers, or in each worker. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from msgspec.structs import replace

from asgd.algorithms.asgd import sends_gradients
from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.spec.check import check_document
from asgd.spec.problems import JobError
from asgd.spec.types import JobSpec, Optimizer
from asgd.wire.rule import Rule
from asgd.worker.optimizing.rules import Group, unfit, with_groups, without_rule
from asgd.worker.optimizing.rules import told as as_told

ON_SERVERS = frozenset(
    ("asgd", "dc-asgd", "geometric-median", "krum", "median", "safeguard", "ssp", "staleness-aware", "sync", "zeno")
)  # fmt: skip
"""Strategies whose servers apply gradients by `spec.optimizer`, whatever that is."""
OWN = {
    "downpour": "Adagrad on the servers",
    "eamsgd": "Nesterov's momentum, with gradients that are taken ahead of the weights",
    "fasgd": "a rate for each coordinate, by the spread of its gradients",
}
"""Strategies that have a rule of their own."""
BESIDE = ("clip_norm", "schedule")
"""Fields of `spec.optimizer` that may stand beside; a script's schedulers take the schedule's place."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Who has made an optimizer, in words."""

    place: str
    owner: str
    without: str
    """What is written where it is not to count."""
    told: str | msgspec.UnsetType = msgspec.UNSET
    """As `Rule.owner`."""


SCRIPT = Whose("asgd.connect(model, optimizer)", "script", "asgd.connect(model)")
TASK = Whose("Task.optimizer", "task", "a Task without an optimizer", "task")


def place(
    spec: JobSpec, optimizer: torch.optim.Optimizer, groups: Sequence[Group], left_out: Sequence[str], *,
    document: Mapping[str, Any] | None = None, whose: Whose = SCRIPT,
) -> Rule:  # fmt: skip
    """The rule of the job of `spec`. `left_out`: trained parameters that the optimizer does not hold; `document`: the
    job's, to be checked again where its mode is another then. Raises UserError."""
    kind = type(optimizer).__name__
    if why := unfit(optimizer):
        raise UserError(f"{whose.place}: {kind} can't be used, for {why}")
    name = str(spec.algorithm["name"])
    if name in OWN:
        raise _own_rule(name, kind, OWN[name], whose)
    if whose is SCRIPT:
        _refuse_two(spec, kind)
    told = as_told(groups)
    if len(groups) == 1 and not left_out:
        # NB: they are all, which the layout says already.
        del told[0]["params"]
    why = without_rule(optimizer, groups)
    if name == "asgd" and not sends_gradients(spec):
        return Rule(kind, told, why="algorithm asgd pushes differences in this job", owner=whose.told)
    if name not in ON_SERVERS:
        return Rule(kind, told, why=_local(spec, kind, whose), owner=whose.told)
    if not why:
        beside = {field: getattr(spec.optimizer, field) for field in BESIDE}
        return Rule(
            kind, told, replace(with_groups(optimizer, groups, left_out), **beside), owner=whose.owner
        )
    if name == "asgd" and spec.algorithm.get("mode", "auto") == "auto":
        if document is not None:
            _check_delta(document, kind, why, whose)
        return Rule(kind, told, why=f"{why} (algorithm.mode: delta)", owner=whose.told)
    ways = "algorithm.mode: auto or delta" if name == "asgd" else "algorithm asgd, local-sgd or diloco"
    raise UserError(f"{whose.place}: {why}, and algorithm {name} needs one; allowed: {ways}")


def _local(spec: JobSpec, kind: str, whose: Whose) -> str:
    """Why each worker steps; raises UserError when the strategy's steps are its own."""
    name, rule = str(spec.algorithm["name"]), halves(spec).worker()
    if rule.optimizer is None:
        raise _own_rule(name, kind, rule.own_rule or "one of its own", whose)
    return f"algorithm {name} steps there"


def _own_rule(name: str, kind: str, own: str, whose: Whose) -> UserError:
    return UserError(
        f"{whose.place}: algorithm {name} can't step by the {whose.owner}'s {kind}, for its rule is {own};"
        f" allowed: {whose.without}, or an algorithm that takes any optimizer (asgd, sync, local-sgd, diloco)"
    )


def _refuse_two(spec: JobSpec, kind: str) -> None:
    """One optimizer a job: the script's, or the file's."""
    plain: Any = Optimizer()
    for field, shown in zip(Optimizer.__struct_fields__, Optimizer.__struct_encode_fields__, strict=True):
        value = getattr(spec.optimizer, field)
        if field != "clip_norm" and value != getattr(plain, field):
            raise UserError(
                f"spec.optimizer.{shown}: {_shown(value)}, and the script hands its own {kind} to asgd.connect();"
                " allowed: one of them (only spec.optimizer.clipNorm may stand beside it)"
            )


def _shown(value: Any) -> Any:
    return len(value) if isinstance(value, tuple) else getattr(value, "name", value)


def _check_delta(document: Mapping[str, Any], kind: str, why: str, whose: Whose) -> None:
    """Raises UserError where the job's other fields don't go with differences."""
    changed = {**document, "spec": {**document["spec"]}}
    changed["spec"]["algorithm"] = {**changed["spec"]["algorithm"], "mode": "delta"}
    try:
        check_document(changed)
    except JobError as error:
        raise UserError(
            f"{whose.place}: {why}, so each worker would step by {kind} (algorithm.mode: delta),"
            f" and that does not go with this job: {error}"
        ) from error
