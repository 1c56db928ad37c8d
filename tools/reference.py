"""Makes the reference pages: AsgdJob from the CRD, every field and every rule; the environment from `asgd.spec`.

The text is the CRD's own descriptions, so the page cannot say anything that `kubectl explain` does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from asgd.spec.environment import LAUNCHERS, LAUNCHERS_PREFIX, Env

Schema = dict[str, Any]

HEAD = """\
# AsgdJob reference

`apiVersion: {group}/{version}`, `kind: {kind}`. Made from `crds/` by `make generate`; do not edit.

"""

ENVIRONMENT_HEAD = """\
# Environment variables

`asgd run` and the operator set these for the processes of a job. Made from `trainer/asgd/spec/environment.py` by
`make generate`; do not edit.

| variable | meaning |
|---|---|
"""

ENVIRONMENT_END = """
What torchrun tells its own processes means nothing among the workers of a job: {}. `asgd run`, `asgd simulate`,
`asgd replay` and `asgd worker --join` keep those of the caller's shell from users' code, and say so. What a pod
template sets stays.

Workers, servers and the operator also heed OpenTelemetry's own `OTEL_*`: [traces](../how-to/tracing.md).
"""

COLUMNS = "| field | type | default | allowed | meaning |\n|---|---|---|---|---|\n"


def page(crd: Schema) -> str:
    """The whole page as Markdown."""
    version = crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    text = HEAD.format(group=crd["spec"]["group"], version=version["name"], kind=crd["spec"]["names"]["kind"])
    text += f"{root['description']}\n"
    for section in ("spec", "status"):
        schema = root["properties"][section]
        text += f"\n## {section}\n\n{schema['description']}\n\n{COLUMNS}"
        text += "".join(_row(path, field) for path, field in _fields(schema, ""))
    return text + "\n## Rules across fields\n\n" + "".join(f"* {line}\n" for line in _rules(root, ""))


def environment() -> str:
    """The page of environment variables as Markdown."""
    ours = "".join(f"| `{name}` | {name.meaning} |\n" for name in Env)
    theirs = ", ".join(f"`{name}`" for name in (*LAUNCHERS, f"{LAUNCHERS_PREFIX}*"))
    return f"{ENVIRONMENT_HEAD}{ours}{ENVIRONMENT_END.format(theirs)}"


def _fields(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema]]:
    for key, field in schema.get("properties", {}).items():
        yield prefix + key, field
        yield from _fields(field, f"{prefix}{key}.")
        yield from _fields(field.get("items", {}), f"{prefix}{key}[].")


def _row(path: str, field: Schema) -> str:
    cells = [f"`{path}`", _type(field), _default(field), _allowed(field), field.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity" if "pattern" in field else "integer or string"
    if "type" not in field:
        return "number or string" if "minimum" in field else "string or list of string"
    inner = field.get("items") or field.get("additionalProperties")
    name = {"array": "list", "object": "map" if inner else "object"}.get(field["type"], field["type"])
    return f"{name} of {_type(inner)}" if inner else str(name)


def _default(field: Schema) -> str:
    return f"`{json.dumps(field['default'])}`" if field.get("default", {}) != {} else ""


def _allowed(field: Schema) -> str:
    if "enum" in field.get("anyOf", [{}])[0]:
        return _allowed(field["anyOf"][0]) + ", or as described"
    if "enum" in field:
        return ", ".join(f"`{value}`" if value else '`""`' for value in field["enum"])
    low, high = field.get("minimum"), field.get("maximum")
    parts = [f"{'>' if field.get('exclusiveMinimum') else '>='} {low:g}" if low is not None else ""]
    parts.append(f"{'<' if field.get('exclusiveMaximum') else '<='} {high:,}" if high is not None else "")
    return ", ".join(filter(None, parts))


def _rules(schema: Schema, path: str) -> Iterator[str]:
    """What must hold, in words if the CRD has constant ones; `spec` itself tells which fields are frozen."""
    for rule in schema.get("x-kubernetes-validations", []):
        if "frozen while" not in rule.get("message", ""):
            place = (path + rule.get("fieldPath", "")).strip(".")
            yield f"`{place}`: {rule.get('message') or '`' + rule['rule'] + '`'}"
    for key, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{key}")
