"""The models that a script connects together: what does not fit is refused, and each gets its rule.

All of them step in one place: where the servers have no rule for the optimizer of one, each worker makes the steps of
all, since a job pushes gradients or differences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from msgspec import structs
from torch import nn

from asgd.algorithms.registry import refuse_models
from asgd.errors import UserError
from asgd.spec.groups import assigned
from asgd.spec.models import named_together
from asgd.spec.types import Job, JobSpec, Optimizer
from asgd.wire.rule import Rule, Rules
from asgd.worker.device.flat import Flat, Share, plain
from asgd.worker.optimizing.handed import Handed, of_script, placed, settled

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
Optimizers = Mapping[str, torch.optim.Optimizer]


def check_models(models: Mapping[Any, Any], optimizers: Any, spec: JobSpec) -> None:
    """Raises UserError where names, models or the job do not allow steps of their own."""
    for name, model in models.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise _refused(f"{name!r} is no name; allowed: letters, digits and _, with a letter first")
        if not isinstance(model, nn.Module):
            raise _refused(f"{name} is {type(model).__name__}; allowed: a torch.nn.Module")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise _refused(f"{name} has no parameter that requires a gradient; leave it out")
    if len(models) < 2:
        raise _refused(
            f"{len(models)} of two models or more; one alone is connected by asgd.connect(model, optimizer)"
        )
    _refuse_shared(models)
    if optimizers is not None:
        _check_optimizers(list(models), optimizers)
    refuse_models(spec, list(models))
    if spec.exchange.read_in_place:
        raise UserError(
            f"spec.exchange.readInPlace: true gives workers the weights of all models at once, and"
            f" {named_together(list(models))} have steps of their own; allowed: false"
        )


def _refused(what: str) -> UserError:
    return UserError(f"asgd.connect(models, optimizers): {what}")


def _refuse_shared(models: Mapping[str, nn.Module]) -> None:
    owners: dict[int, str] = {}
    for name, model in models.items():
        for own, tensor in [*model.named_parameters(), *model.named_buffers()]:
            other = owners.setdefault(id(tensor), name)
            if other != name:
                raise _refused(
                    f"{plain(own)} of {name} is also in {other}, and a step of one would move the other; allowed:"
                    " models that share no parameter and no buffer"
                )


def _check_optimizers(names: list[str], optimizers: Any) -> None:
    if not isinstance(optimizers, Mapping):
        raise _refused(
            f"the optimizers are {type(optimizers).__name__}; allowed: one of each model by its name, or none"
        )
    lacks, more = [n for n in names if n not in optimizers], [n for n in optimizers if n not in names]
    if lacks:
        raise _refused(f"{named_together(lacks)} without an optimizer; allowed: one of each model, or none")
    if more:
        raise _refused(f"an optimizer of {more[0]!r}, which is no model; models are {named_together(names)}")


def handed_over(
    optimizers: Optimizers, models: Mapping[str, nn.Module], shares: Mapping[str, Share], flat: Flat, job: Job
) -> list[Handed]:
    """Each model's own optimizer in this job. Raises UserError where one does not fit its model or the job."""
    found = {}
    for name, share in shares.items():
        try:
            found[name] = placed(of_script(optimizers[name]), models[name], share, job)
        except UserError as error:
            raise UserError(f"{error} (model {name})") from error
    local = next((name for name, (_, rule) in found.items() if rule.optimizer is None), None)
    if local is not None:
        why = found[local][1].why
        for name, (groups, rule) in found.items():
            if rule.optimizer is not None:
                found[name] = groups, Rule(rule.kind, rule.groups, why=f"as that of {local} ({why})")
    return [settled(optimizers[name], groups, rule, flat) for name, (groups, rule) in found.items()]


def rules_of_job(of_job: Optimizer, shares: Mapping[str, Share]) -> list[Rule]:
    """`spec.optimizer` for each model, with the groups that it has parameters of.

    Raises UserError where a group fits no parameter of any model.
    """
    every = [name for share in shares.values() for name, _ in share.layout]
    groups = dict(zip(every, assigned(of_job, every), strict=True))
    found = []
    for share in shares.values():
        own = {groups[name] for name, _ in share.layout}
        kept = tuple(group for number, group in enumerate(of_job.groups) if number in own)
        found.append(Rule("", [], structs.replace(of_job, groups=kept)))
    return found


def together(rules: list[Rule], shares: Mapping[str, Share]) -> Rules:
    """As the servers are told."""
    return Rules(dict(zip(shares, rules, strict=True)), [share.size for share in shares.values()])
