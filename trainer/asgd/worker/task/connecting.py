"""What a script connects, found out by reading it: names of several models, and the classes of their optimizers.

Only what stands there as it is can be read: a dict of models, and optimizers that are made by calling their class.
Nothing of the script is run, and its parameters are not known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Connected:
    """What a call of `asgd.connect` is about."""

    models: Mapping[str, str]
    """{name: class of its optimizer, '' where that can't be read}; empty for one model, or where that can't be read."""
    handed: bool
    """It hands over optimizers of its own."""


def connected(tree: ast.Module) -> Connected:
    """What the script's first call of `asgd.connect` is about."""
    call = min(_calls(tree), key=lambda call: call.lineno, default=None)
    if call is None:
        return Connected({}, False)
    # NB: what comes back is often called as what went in.
    values = {name: value for name, value in _assigned(tree) if value.lineno < call.lineno}
    models = _items(_argument(call, 0, "model"), values) or {}
    handed = _items(_argument(call, 1, "optimizer"), values) or {}
    return Connected(
        {name: _class(handed[name], values) if name in handed else "" for name in models}, bool(handed)
    )


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    modules, functions = {"asgd"}, set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname for alias in node.names if alias.name == "asgd" and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == "asgd":
            functions |= {alias.asname or alias.name for alias in node.names if alias.name == "connect"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in functions:
                yield node
            case ast.Attribute(value=ast.Name(id=name), attr="connect") if name in modules:
                yield node


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of all assignments to plain names in their order, also of several at once."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value)
    for node in sorted(nodes, key=lambda node: node.lineno):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from _pairs(target, cast(ast.expr, node.value))


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, own in zip(target.elts, value.elts, strict=False):
            yield from _pairs(each, own)


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    if len(call.args) > place:
        return call.args[place]
    return next((given.value for given in call.keywords if given.arg == name), None)


def _resolved(value: ast.expr | None, values: Mapping[str, ast.expr]) -> ast.expr | None:
    for _ in range(8):  # names of names, and none for ever
        if not isinstance(value, ast.Name):
            break
        value = values.get(value.id)
    return value


def _items(value: ast.expr | None, values: Mapping[str, ast.expr]) -> dict[str, ast.expr] | None:
    """What a dict with texts as keys holds; None for anything else."""
    value = _resolved(value, values)
    if isinstance(value, ast.Call) and _named(value, "dict") and not value.args:
        return {given.arg: given.value for given in value.keywords if given.arg}
    if not isinstance(value, ast.Dict):
        return None
    found: dict[str, ast.expr] = {}
    for key, own in zip(value.keys, value.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return None
        found[key.value] = own
    return found


def _named(call: ast.Call, name: str) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == name


def _class(value: ast.expr, values: Mapping[str, ast.expr]) -> str:
    """Of `torch.optim.Adam(...)`; '' for what is no call of a class."""
    made = _resolved(value, values)
    if not isinstance(made, ast.Call):
        return ""
    name: str = made.func.attr if isinstance(made.func, ast.Attribute) else getattr(made.func, "id", "")
    return name if name[:1].isupper() else ""
