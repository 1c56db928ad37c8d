"""The optimizer of a script (`asgd.connect(model, optimizer)`) or a task (`Task.optimizer`): the first worker to join
brings it.

The servers begin with `spec.optimizer`, and take this in its place before there are any weights. It is part of what all
workers agree on, is kept with each shard's state, and says where the steps are made. Pure.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from asgd.errors import ProtocolError
from asgd.spec.models import Model, named_together, with_models
from asgd.spec.types import JobSpec, Optimizer

RULES = ("sgd", "adagrad", "adam", "adamw", "rmsprop", "adadelta")
"""Names in `spec.optimizer.name` that a script's optimizer may become."""


class Rule(Struct, frozen=True, rename="camel"):
    """A script's optimizer as a job knows it."""

    kind: str
    """Its class, as `AdamW`."""
    groups: list[dict[str, Any]]
    """Of each group: its options as text, by PyTorch's names, and the parameters' names under `params`."""
    optimizer: Optimizer | None = None
    """What the servers run; None: each worker steps by itself."""
    why: str = ""
    """Why each worker does, as `the servers have no rule for Adafactor`."""
    owner: str | msgspec.UnsetType = msgspec.UNSET
    """`task`; of a script's nothing is said, as it ever was."""

    @property
    def whose(self) -> str:
        """Who has made it, for people."""
        return "script" if isinstance(self.owner, msgspec.UnsetType) else self.owner


class Rules(Struct, frozen=True):
    """Those of a job with several models, {name: rule} in the flat vector's order.

    A rule without a `kind` is `spec.optimizer` as it is for this model.
    """

    models: dict[str, Rule]
    sizes: list[Annotated[int, Meta(gt=0)]]
    """Elements of each model."""


_SEVERAL = b'{"models":'


def pack(rule: Rule | Rules) -> bytes:
    """As it stands in `Hello.rule`."""
    return msgspec.json.encode(rule)


@functools.lru_cache(maxsize=8)
def unpack(data: bytes) -> Rule | Rules | None:
    """What `pack` has made; None for nothing. Raises ProtocolError on anything else."""
    if not data:
        return None
    kind: type[Rule | Rules] = Rules if data.startswith(_SEVERAL) else Rule
    try:
        rule = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no description of a script's optimizer: {error}") from error
    if isinstance(rule, Rules):
        if len(rule.models) != len(rule.sizes) or len(rule.models) < 2:
            raise ProtocolError(f"{len(rule.models)} models with {len(rule.sizes)} sizes")
        if any(not one.kind and one.optimizer is None for one in rule.models.values()):
            raise ProtocolError("a model without an optimizer")
    for one in rule.models.values() if isinstance(rule, Rules) else (rule,):
        if one.kind and one.optimizer and one.optimizer.name not in RULES:
            raise ProtocolError(f"{one.optimizer.name!r} is no optimizer of the servers")
    return rule


def readable(data: bytes, size: int) -> bool:
    """Whether `unpack` can read it, and it fits a model of `size` elements."""
    try:
        rule = unpack(data)
    except ProtocolError:
        return False
    return not isinstance(rule, Rules) or sum(rule.sizes) == size


def part_of(data: bytes, part: int) -> Rule | None:
    """The rule of what a push of `part` is about."""
    rule = unpack(data)
    if not isinstance(rule, Rules):
        return rule
    rules = [*rule.models.values()]
    return rules[part] if part < len(rules) else None


def with_rule(spec: JobSpec, data: bytes) -> JobSpec:
    """The job's spec as it is with a script's optimizer: in delta mode where each worker steps by itself."""
    rule = unpack(data)
    if rule is None:
        return spec
    if isinstance(rule, Rules):
        each = [_with_rule(spec, one) for one in rule.models.values()]
        named = zip(rule.models, rule.sizes, each, strict=True)
        # NB: all of them step in one place (`own/several.py`), so one algorithm holds for all.
        spec = replace(spec, algorithm=each[0].algorithm)
        return with_models(spec, [Model(name, size, own.optimizer) for name, size, own in named])
    return _with_rule(spec, rule)


def _with_rule(spec: JobSpec, rule: Rule) -> JobSpec:
    if rule.optimizer is not None:
        return replace(spec, optimizer=rule.optimizer)
    # NB: workers step by rates of their own, and what the job has is a factor on them.
    spec = replace(spec, optimizer=replace(spec.optimizer, learning_rate=1.0))
    if spec.algorithm["name"] != "asgd":
        return spec
    return replace(spec, algorithm={**spec.algorithm, "mode": "delta"})


def sentence(data: bytes) -> str:
    """What people are told: `AdamW of the script, run on the servers (2 groups)`; '' without a script's optimizer."""
    rule = unpack(data)
    if isinstance(rule, Rules):
        return "; ".join(f"{name}: {_sentence(one)}" for name, one in rule.models.items())
    return _sentence(rule) if rule else ""


def _sentence(rule: Rule) -> str:
    if not rule.kind:
        return "spec.optimizer"
    count = f"{len(rule.groups)} group{'s' if len(rule.groups) != 1 else ''}"
    if rule.optimizer is not None:
        return f"{rule.kind} of the {rule.whose}, run on the servers ({count})"
    return f"{rule.kind} of the {rule.whose}, run in each worker ({count}): {rule.why}"


def rule_difference(ours: bytes, theirs: bytes) -> str:
    """How a script's optimizer `theirs` differs from the job's, `ours`, both as in `Hello.rule`; '' if they do not."""
    if ours == theirs:
        return ""
    known, told = unpack(ours), unpack(theirs)
    if isinstance(known, Rules) or isinstance(told, Rules):
        return _models_difference(known, told)
    return _difference(known, told)


def _models_difference(known: Rule | Rules | None, told: Rule | Rules | None) -> str:
    ours, theirs = _models(known), _models(told)
    if ours.keys() != theirs.keys() or not isinstance(known, Rules) or not isinstance(told, Rules):
        return f"its script connects {_named(theirs)}, and the job has {_named(ours)}"
    if [*ours] != [*theirs]:
        return f"its script connects {_named(theirs)} in this order, and the job {_named(ours)}"
    for name in ours:
        if ours[name] != theirs[name]:
            return f"{name}: {_difference(ours[name], theirs[name])}"
    return f"the sizes of {_named(ours)} are not those of this job"


def _models(rule: Rule | Rules | None) -> dict[str, Rule]:
    return rule.models if isinstance(rule, Rules) else {}


def _named(models: dict[str, Rule]) -> str:
    return f"models {named_together([*models])}" if models else "one model"


def _difference(known: Rule | None, told: Rule | None) -> str:
    if known is not None and told is not None and not (known.kind and told.kind):
        known, told = (known if known.kind else None), (told if told.kind else None)
    if known is None or told is None:
        has = "no optimizer" if told is None else told.kind
        return f"its code hands over {has}, and the job has {known.kind if known else 'spec.optimizer'}"
    if known.kind != told.kind:
        return f"the optimizer is {told.kind}, and {known.kind} in this job"
    if len(known.groups) != len(told.groups):
        return f"{told.kind} has {len(told.groups)} parameter groups, and {len(known.groups)} in this job"
    for number, (one, other) in enumerate(zip(known.groups, told.groups, strict=True)):
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                return (
                    f"{told.kind}, group {number}: {_how(name, one.get(name), other.get(name))} in this job"
                )
    return f"{told.kind} is run otherwise than in this job: another version of this program?"


def _how(name: str, known: Any, told: Any) -> str:
    if name != "params":
        return f"{name} is {told}, and {known}"
    for parameter in told:
        if parameter not in known:
            return f"parameter {parameter} is in it, and in another group"
    for parameter in known:
        if parameter not in told:
            return f"parameter {parameter} is not in it, but is"
    return "the order of the parameters is not that"
