"""Where the steps of a script's own optimizer are made: on the servers, or in each worker. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from msgspec.structs import replace

from asgd.algorithms.asgd import sends_gradients
from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.spec.check import check_document
from asgd.spec.problems import JobError
from asgd.spec.types import Job, JobSpec, Optimizer
from asgd.wire.rule import Rule
from asgd.worker.own.rules import Group, as_text, unfit, with_groups, without_rule

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
BESIDE = ("clip_norm",)
"""Fields of `spec.optimizer` that may stand beside a script's optimizer."""


def place(
    job: Job, optimizer: torch.optim.Optimizer, groups: Sequence[Group], left_out: Sequence[str]
) -> Rule:
    """The job's rule. `left_out`: trained parameters that the optimizer does not hold. Raises UserError."""
    kind, spec = type(optimizer).__name__, job.spec
    if why := unfit(optimizer):
        raise UserError(f"asgd.connect(model, optimizer): {kind} can't be used, for {why}")
    name = str(spec.algorithm["name"])
    if name in OWN:
        raise _own_rule(name, kind, OWN[name])
    _refuse_two(spec, kind)
    told = [as_text(group.options) | {"params": group.parameters} for group in groups]
    if len(groups) == 1 and not left_out:
        # NB: they are all, which the layout says already.
        del told[0]["params"]
    why = without_rule(optimizer, groups)
    if name == "asgd" and not sends_gradients(spec):
        return Rule(kind, told, why="algorithm asgd pushes differences in this job")
    if name not in ON_SERVERS:
        return Rule(kind, told, why=_local(spec, kind))
    if not why:
        return Rule(
            kind, told, replace(with_groups(optimizer, groups, left_out), clip_norm=spec.optimizer.clip_norm)
        )
    if name == "asgd" and spec.algorithm.get("mode", "auto") == "auto":
        _check_delta(job, kind, why)
        return Rule(kind, told, why=f"{why} (algorithm.mode: delta)")
    ways = "algorithm.mode: auto or delta" if name == "asgd" else "algorithm asgd, local-sgd or diloco"
    raise UserError(f"asgd.connect(model, optimizer): {why}, and algorithm {name} needs one; allowed: {ways}")


def _local(spec: JobSpec, kind: str) -> str:
    """Why each worker steps; raises UserError when the strategy's steps are its own."""
    name, rule = str(spec.algorithm["name"]), halves(spec).worker()
    if rule.optimizer is None:
        raise _own_rule(name, kind, rule.own_rule or "one of its own")
    return f"algorithm {name} steps there"


def _own_rule(name: str, kind: str, own: str) -> UserError:
    return UserError(
        f"asgd.connect(model, optimizer): algorithm {name} can't step by the script's {kind}, for its rule is {own};"
        " allowed: asgd.connect(model), or an algorithm that takes any optimizer (asgd, sync, local-sgd, diloco)"
    )


def _refuse_two(spec: JobSpec, kind: str) -> None:
    """One optimizer a job: the script's, or the file's."""
    plain: Any = Optimizer()
    for field, shown in zip(Optimizer.__struct_fields__, Optimizer.__struct_encode_fields__, strict=True):
        value = getattr(spec.optimizer, field)
        if field not in BESIDE and value != getattr(plain, field):
            raise UserError(
                f"spec.optimizer.{shown}: {_shown(value)}, and the script hands its own {kind} to asgd.connect();"
                " allowed: one of them (only spec.optimizer.clipNorm may stand beside it)"
            )


def _shown(value: Any) -> Any:
    return len(value) if isinstance(value, tuple) else getattr(value, "name", value)


def _check_delta(job: Job, kind: str, why: str) -> None:
    """Raises UserError where the job's other fields don't go with differences."""
    document = {**job.document, "spec": {**job.document["spec"]}}
    document["spec"]["algorithm"] = {**document["spec"]["algorithm"], "mode": "delta"}
    try:
        check_document(document)
    except JobError as error:
        raise UserError(
            f"asgd.connect(model, optimizer): {why}, so each worker would step by {kind} (algorithm.mode: delta),"
            f" and that does not go with this job: {error}"
        ) from error
