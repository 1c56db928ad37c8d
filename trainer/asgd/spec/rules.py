"""The CRD's own CEL rules (`x-kubernetes-validations`), evaluated as the API server does by Google's library.

Values are typed by the schema first, since the API server compares a `number` as a double even when it is
written without a fraction. Rules about a change (`oldSelf`) run only when there is an old document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from asgd.spec.problems import Path, Problem
from asgd.spec.schema import Schema, field_of, structural

_ABSENT = object()
_OLD = re.compile(r"\boldSelf\b")


def check_rules(document: dict[str, Any], old: dict[str, Any] | None) -> list[Problem]:
    """Every broken rule in a defaulted document that fits the schema; `old` is the document it replaces."""
    root = structural()
    before = _ABSENT if old is None else _typed(old, root)
    return list(_walk(_typed(document, root), before, root, ()))


def _walk(value: Any, old: Any, schema: Schema, path: Path) -> Iterator[Problem]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield from _apply(rule, value, old, path)
    if isinstance(value, dict):
        for key, inner_value in value.items():
            inner = field_of(schema, key)
            if inner is not None:
                yield from _walk(inner_value, _child(old, key), inner, (*path, key))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _walk(item, _ABSENT, schema["items"], (*path, index))


def _child(old: Any, key: str) -> Any:
    return old.get(key, _ABSENT) if isinstance(old, dict) else _ABSENT


def _apply(rule: dict[str, str], value: Any, old: Any, path: Path) -> Iterator[Problem]:
    if _OLD.search(rule["rule"]) and old is _ABSENT:
        return
    data = {"self": value} if old is _ABSENT else {"self": value, "oldSelf": old}
    if _evaluate(rule["rule"], data) is True:
        return
    where = tuple(filter(None, rule.get("fieldPath", "").split(".")))
    text = _evaluate(rule["messageExpression"], data) if "messageExpression" in rule else rule["message"]
    yield Problem((*path, *where), _with_value(" ".join(str(text).split()), value, where))


def _with_value(text: str, value: Any, where: Path) -> str:
    for step in where:
        value = value.get(step) if isinstance(value, dict) else None
    # A rule that only says what must be reads as a sentence behind the value that is not so.
    verb = text.split(" ", 1)[0] in ("must", "needs", "is")
    return f"{value} {text}" if verb and isinstance(value, (str, int, float)) and value != "" else text


def _evaluate(expression: str, data: dict[str, Any]) -> Any:
    return _compile(expression).eval(data=data).value()


@cache
def _compile(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # only who checks a job pays for it

    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN})


def _typed(value: Any, schema: Schema | None) -> Any:
    if schema is None:
        return value
    if isinstance(value, dict):
        return {key: _typed(item, field_of(schema, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, schema.get("items")) for item in value]
    return float(value) if schema.get("type") == "number" and type(value) is int else value
