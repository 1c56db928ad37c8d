"""Values of one struct as another that shares fields with it: what has the same name is the same thing."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T", bound=Struct)


def taken(kind: type[T], source: Struct, **own: Any) -> T:
    """A `kind` with the equally named fields of `source`; `own` are those that differ, or that `source` lacks."""
    alike = set(kind.__struct_fields__) & set(source.__struct_fields__)
    return kind(**{name: getattr(source, name) for name in alike} | own)
