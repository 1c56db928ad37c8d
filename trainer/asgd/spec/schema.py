"""The CRD's structural schema at work without an API server: dropped nulls, defaults and the OpenAPI checks.

Nulls and defaults follow the API server's own algorithm (apiextensions, `schema/defaulting`), in its order.
The checks themselves are a JSON Schema library's: this file only translates the dialect and words two
messages more helpfully.
"""

from __future__ import annotations

import copy
import difflib
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

import msgspec

from asgd.spec.problems import Path, Problem

Schema = dict[str, Any]

_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_TIME = {"type": ["string", "null"]}
_INTEGER = {"type": "integer"}
_LIST = {"type": "array"}
_METADATA: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {
        **dict.fromkeys(["name", "generateName", "namespace", "uid", "resourceVersion", "selfLink"], _TEXT),
        **dict.fromkeys(["creationTimestamp", "deletionTimestamp"], _TIME),
        **dict.fromkeys(["labels", "annotations"], _TEXTS),
        **dict.fromkeys(["generation", "deletionGracePeriodSeconds"], _INTEGER),
        **dict.fromkeys(["finalizers", "ownerReferences", "managedFields"], _LIST),
    },
    "additionalProperties": False,
}
"""ObjectMeta, which the API server checks itself and no CRD may describe."""


@cache
def version() -> Schema:
    """The CRD's version `v1alpha1`: names, columns and schema."""
    text = resources.files("asgd.spec").joinpath("crd.json").read_bytes()
    found: Schema = msgspec.json.decode(text)["spec"]["versions"][0]
    return found


def structural() -> Schema:
    """The root of the CRD's schema, as the API server knows it."""
    root: Schema = version()["schema"]["openAPIV3Schema"]
    return root


def field_of(schema: Schema, key: str) -> Schema | None:
    """The schema of one key of a mapping; None where the schema says nothing."""
    found = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
    return found if isinstance(found, dict) else None


def drop_nulls(value: Any, schema: Schema | None) -> None:
    """Remove, in place, nulls of known fields that have no default: they mean that the field is absent."""
    if isinstance(value, list):
        for item in value:
            drop_nulls(item, schema and schema.get("items"))
    elif isinstance(value, dict):
        for key in list(value):
            inner = field_of(schema, key) if schema else None
            if (
                value[key] is None
                and inner is not None
                and "default" not in inner
                and not inner.get("nullable")
            ):
                del value[key]
            else:
                drop_nulls(value[key], inner)


def fill_defaults(value: Any, schema: Schema | None) -> None:
    """Fill in, in place, what is absent or null from the CRD's defaults, outer objects before inner ones."""
    if not schema:
        return
    if isinstance(value, list):
        for item in value:
            fill_defaults(item, schema.get("items"))
    elif isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if "default" in inner and value.get(key) is None:
                value[key] = copy.deepcopy(inner["default"])
        for key in value:
            fill_defaults(value[key], field_of(schema, key))


_SIZES = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]
_KEPT = ["type", "enum", "minimum", "maximum", "pattern", "required", "anyOf", *_SIZES]


def to_json_schema(schema: Schema) -> Schema:
    """A structural schema as JSON Schema 2020-12, where a field that is not described is an error."""
    result: Schema = {key: schema[key] for key in _KEPT if key in schema}
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if schema.get(strict):
            result[strict] = result.pop(bound)
    if schema.get("x-kubernetes-list-type") == "set":
        result["uniqueItems"] = True
    if "items" in schema:
        result["items"] = to_json_schema(schema["items"])
    if "properties" in schema:
        result["properties"] = {key: to_json_schema(inner) for key, inner in schema["properties"].items()}
    if "additionalProperties" in schema:
        result["additionalProperties"] = to_json_schema(schema["additionalProperties"])
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


@cache
def _validator() -> Any:
    import jsonschema_rs  # only who checks a job pays for it: servers and workers read checked ones

    root = to_json_schema(structural())
    root["properties"]["metadata"] = _METADATA
    root["properties"]["apiVersion"] = {"enum": ["asgd.dev/v1alpha1"]}
    root["properties"]["kind"] = {"enum": ["AsgdJob"]}
    root["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return jsonschema_rs.Draft202012Validator(root)


_BLOCKING = {"type", "enum", "required", "maxLength", "maxItems", "maxProperties", "anyOf", "uniqueItems"}
"""Breaches after which the API server no longer looks at the rules."""


_MOST_BREACHES = 200
"""That are looked at: nobody reads more, and each takes its time."""


def check_schema(document: dict[str, Any]) -> tuple[list[Problem], bool]:
    """Every breach of the OpenAPI schema in a defaulted document, and whether rules make sense still."""
    errors = list(islice(_validator().iter_errors(document), _MOST_BREACHES))
    sound = not any(error.kind.name in _BLOCKING for error in errors)
    return [problem for error in errors for problem in _problems(error)], sound


def _problems(error: Any) -> list[Problem]:
    path: Path = tuple(error.instance_path)
    match error.kind.name:
        case "additionalProperties":
            known = list(_at(error.schema_path[:-1]).get("properties", {}))
            return [
                Problem((*path, key), _unknown(key, known)) for key in error.kind.unexpected[:_MOST_BREACHES]
            ]
        case "required":
            return [Problem((*path, error.kind.property), "is required")]
    return [Problem(path, f"{_short(error.instance)} {_complaint(error)}")]


def _complaint(error: Any) -> str:
    """What is wrong with a value, to stand behind it; the library's words where they are good."""
    match error.kind.name:
        case "enum":
            return f"is not one of {', '.join(map(_raw, error.kind.options))}"
        case "exclusiveMinimum":
            return f"must be greater than {error.kind.limit:g}"
        case "exclusiveMaximum":
            return f"must be less than {error.kind.limit:g}"
        case "pattern" if error.kind.pattern.startswith("^[+]?("):
            return "is not a quantity, as 500m, 2 or 4Gi"
        case "pattern":
            meaning = _at(error.schema_path[:-1]).get("description", "").split(". ")[0].rstrip(".")
            return f"does not match {error.kind.pattern} ({meaning})"
        case "anyOf":
            return _neither(_at(error.schema_path[:-1]))
    message: str = error.message
    return message.removeprefix(_raw(error.instance)).strip()


def _neither(schema: Schema) -> str:
    """For the two choices of the CRD: numbers or text, and names of ours or of others' strategies."""
    ours = schema["anyOf"][0].get("enum")
    if ours is None:
        return "is neither a number nor text"
    return f"is not one of {', '.join(map(_raw, ours))}, nor PACKAGE/NAME of a strategy that others wrote"


def _at(schema_path: list[str | int]) -> Schema:
    node: Any = structural()
    for step in schema_path:
        if step == "metadata":
            return _METADATA
        node = node[step]
    found: Schema = node
    return found


def _raw(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _short(value: Any) -> str:
    text = _raw(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _unknown(key: str, known: list[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=0.6)
    hint = (
        f"; did you mean {lower[close[0]]}?"
        if close
        else f"; known are {', '.join(sorted(known))}"
        if known
        else ""
    )
    return "unknown field" + hint
