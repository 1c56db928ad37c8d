"""Reads the API server's book of who owns which field (`fieldsV1`), as far as a manifest needs it.

A map owns its keys as `f:KEY`. Items of a list stand as `k:{...}` by what identifies them, or as `v:VALUE`; a list or a
map that is owned as a whole is a leaf, `{}`. Which is which, the API server's schema says; the book shows it, so no
schema is needed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from asgd_operator.constants import LIVE_FIELDS

_METADATA = ("labels", "annotations", "ownerReferences")
"""What is booked of an object's metadata."""
_NOT_BOOKED = ("apiVersion", "kind", "metadata", "status")
_NAMES = ("name", "mountPath", "containerPort", "port", "uid", "topologyKey", "key", "ip")
"""By which of its fields an item of a list is called in a path, for people."""


@dataclass(frozen=True, slots=True)
class Field:
    """`steps` as the book has them, `path` as people write it."""

    steps: tuple[str, ...] = ()
    path: str = ""

    @classmethod
    def of(cls, *keys: str) -> Field:
        found = cls()
        for key in keys:
            found = found.key(key)
        return found

    def key(self, key: str) -> Field:
        shown = f".{key}" if "/" not in key and "." not in key else f"[{key}]"
        return Field((*self.steps, f"f:{key}"), self.path + shown)

    def item(self, step: str, value: Any) -> Field:
        name = value
        if isinstance(value, Mapping):
            name = next((value[one] for one in _NAMES if one in value), "?")
        return Field((*self.steps, step), f"{self.path}[{name}]")

    def live(self, kind: str) -> bool:
        """Whether it is one of the fields that change while a workload of this kind runs."""
        return any(self.steps == ("f:spec", f"f:{name}") for name in LIVE_FIELDS.get(kind, ()))


def missing(owned: str, manifest: Mapping[str, Any]) -> Iterator[Field]:
    """The fields of `manifest` that a manager with the book `owned` does not own."""
    book = _read(owned)
    for key, value in manifest.items():
        if key not in _NOT_BOOKED and not _whole(book, f"f:{key}", value):
            yield from _below(book, Field().key(key), value)
    metadata = manifest["metadata"]
    for key in _METADATA:
        if key in metadata and not _whole(book.get("f:metadata", {}), f"f:{key}", metadata[key]):
            yield from _below(book.get("f:metadata", {}), Field.of("metadata", key), metadata[key])


def holds(owned: str, field: Field) -> bool:
    """Whether a manager with the book `owned` owns `field`, something below it, or what it is a part of."""
    node = _read(owned)
    for depth, step in enumerate(field.steps):
        if step not in node:
            return depth > 0 and not node
        node = node[step]
    return True


@lru_cache(maxsize=2048)
def _read(text: str) -> Any:
    return json.loads(text)


def _whole(parent: Mapping[str, Any], step: str, value: Any) -> bool:
    """Whether nothing of `value` is missing: what `_below` says, without a name for each field on the way."""
    if value is None or value in ({}, []):
        return True
    node = parent.get(step)
    if not node:
        return node is not None
    if isinstance(value, Mapping):
        return all(_whole(node, f"f:{key}", item) for key, item in value.items())
    if isinstance(value, list):
        return all(_whole(node, _step(node, item), item) for item in value)
    return True


def _below(parent: Mapping[str, Any], field: Field, value: Any) -> Iterator[Field]:
    if value is None or value in ({}, []):
        return  # nothing is booked of it, or that it is there and empty
    step = field.steps[-1]
    if step not in parent:
        yield _leaf(field, value)
        return
    node = parent[step]
    if not node:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(node, field.key(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _below(node, field.item(_step(node, item), item), item)


def _leaf(field: Field, value: Any) -> Field:
    """The one field below that is meant, where there is only one."""
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, value),) = value.items()
        field = field.key(key)
    return field


def _step(node: Mapping[str, Any], item: Any) -> str:
    """The step that stands for an item of a list; empty where none does."""
    return next((step for step in node if _is(step, item)), "")


def _is(step: str, item: Any) -> bool:
    kind, _, text = step.partition(":")
    if kind == "v":
        return bool(_read(text) == item)
    if kind != "k" or not isinstance(item, Mapping):
        return False
    # NB: a part of the key that the item does not name has its default there.
    return all(item.get(name, value) == value for name, value in _read(text).items())
