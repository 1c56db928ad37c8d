"""Any message of a kind, with values at and between the ends of what its fields may hold."""

from __future__ import annotations

import typing

import msgspec
from hypothesis import strategies as st

from asgd.wire.messages import AnyMessage, Message

KINDS: tuple[type[Message], ...] = typing.get_args(AnyMessage)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()
)


def values(kind: type[typing.Any]) -> st.SearchStrategy[typing.Any]:
    """Any message of a kind, or any struct in one."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        fields[field.name] = _of(field.type)
    return st.builds(kind, **fields)


def _of(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return values(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _within(inner[0], inner[1])
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin is list:
        return st.lists(_of(inner[0]), max_size=3)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(_of(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_of, inner))
    if origin is dict:
        return st.dictionaries(_of(inner[0]), _of(inner[1]), max_size=3)
    if origin is not None:  # X | None
        return st.one_of(*map(_of, inner))
    simple = {
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        str: st.text(),
        bytes: st.binary(),
        bool: st.booleans(),
        type(None): st.none(),
        typing.Any: scalars,
    }
    return simple[kind]


def _within(kind: typing.Any, bounds: msgspec.Meta) -> st.SearchStrategy[typing.Any]:
    """Values at both ends of what a field may hold, and between."""
    if kind is int:
        least = bounds.ge
        most = bounds.le if bounds.le is not None else (bounds.lt or 0) - 1
        assert isinstance(least, int) and isinstance(most, int)
        return st.one_of(st.integers(least, min(least + 5, most)), st.integers(least, most), st.just(most))
    if kind is str:
        return st.text(max_size=bounds.max_length)
    return _of(kind)
