"""The CRD and the structs of `types.py` say the same: neither has what the other lacks."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import FieldInfo

from asgd.spec import JobSpec
from asgd.spec.schema import fill_defaults, structural

SPEC = structural()["properties"]["spec"]


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    for option in getattr(kind, "__args__", (kind,)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def pairs(
    struct: type[msgspec.Struct], schema: dict[str, Any], path: str
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each struct with the object of the CRD that it mirrors."""
    yield path, struct, schema
    for info in msgspec.structs.fields(struct):
        inner = struct_of(info.type)
        if inner is not None and info.encode_name in schema["properties"]:
            field = schema["properties"][info.encode_name]
            yield from pairs(inner, field.get("items", field), f"{path}.{info.encode_name}")


MIRRORS = list(pairs(JobSpec, SPEC, "spec"))


def struct_default(info: FieldInfo) -> Any:
    """As it is declared: an optimizer fills in what depends on its name only when one is made."""
    made = info.default_factory
    if isinstance(made, type) and issubclass(made, msgspec.Struct):
        return {inner.encode_name: struct_default(inner) for inner in msgspec.structs.fields(made)}
    value = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize(("path", "struct", "schema"), MIRRORS, ids=[path for path, _, _ in MIRRORS])
def test_struct_and_crd_have_the_same_fields(
    path: str, struct: type[msgspec.Struct], schema: dict[str, Any]
) -> None:
    assert {info.encode_name for info in msgspec.structs.fields(struct)} == set(schema["properties"]), path


@pytest.mark.parametrize(("path", "struct", "schema"), MIRRORS, ids=[path for path, _, _ in MIRRORS])
def test_struct_and_crd_have_the_same_defaults(
    path: str, struct: type[msgspec.Struct], schema: dict[str, Any]
) -> None:
    for info in msgspec.structs.fields(struct):
        inner = schema["properties"][info.encode_name]
        if info.required:
            assert info.encode_name in schema["required"], f"{path}.{info.encode_name}"
            continue
        wanted = {"field": copy.deepcopy(inner["default"])} if "default" in inner else {}
        fill_defaults(wanted, {"properties": {"field": inner}})
        mine = without_nulls(struct_default(info))
        assert mine == wanted.get("field"), f"{path}.{info.encode_name}"


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def test_an_empty_spec_means_the_same_to_the_crd_and_to_the_structs() -> None:
    document: dict[str, Any] = {"entrypoint": "tasks:digits"}
    fill_defaults(document, SPEC)
    assert msgspec.convert(document, JobSpec) == JobSpec(entrypoint="tasks:digits")


def described(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}", inner.get("description", "")
        yield from described(inner, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from described(schema[key], f"{path}[]")


def test_every_field_is_described_in_sentences() -> None:
    root = structural()["properties"]
    fields = [*described(root["spec"], "spec"), *described(root["status"], "status")]
    assert len(fields) > 100
    assert [path for path, text in fields if len(text) < 10 or not text.rstrip("`").endswith(".")] == []


def test_the_crd_stays_small_enough_for_a_client_side_apply() -> None:
    # kubectl keeps a copy in an annotation, which may hold 256 KiB.
    assert len(json.dumps(structural())) < 200 * 1024


def test_a_group_may_give_all_that_an_optimizer_has_for_its_parameters_alone() -> None:
    whole, groups = (SPEC["properties"]["optimizer"]["properties"], "groups")
    of_all = {"name", "schedule", "clipNorm", groups}
    assert {*whole[groups]["items"]["properties"]} == {*whole} - of_all | {"match"}


def test_an_outer_optimizer_differs_from_the_optimizer_in_its_learning_rate_only() -> None:
    inner, outer = (SPEC["properties"][name]["properties"] for name in ("optimizer", "outerOptimizer"))
    assert {key for key in inner if inner[key] != outer[key]} == {"learningRate"}
    assert set(inner) == set(outer)
