"""YAML text as plain values that know their lines: the file's half of loading a job.

Parses with libyaml's syntax and kubectl's scalars. Duplicate keys are errors, anchors and merge keys work.
Which values a job may have is not decided here, but how many and how deep: a bomb is not unpacked.
"""

from __future__ import annotations

from typing import Any

import yaml

from asgd.spec import bounds
from asgd.spec.problems import JobError, Path, Problem
from asgd.spec.scalars import PLAIN, BadScalar, resolve, surprise

_MERGE = "<<"
_Base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Loader(_Base):  # type: ignore[misc]  # the C loader exists only where libyaml does
    """Composes nodes and leaves scalars alone, but marks which are plain and untagged."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return PLAIN
        return super().resolve(kind, value, implicit)


class Document:
    """One YAML document: `value` is what JSON could hold, `lines` maps a path in it to its 1-based line."""

    def __init__(self, node: yaml.Node, place: str) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.hints: list[Problem] = []
        """Numbers that hardly mean what was written."""
        self._place = place
        self._open: set[int] = set()
        self._values = 0
        self.value = self._read(node, ())

    def _refuse(self, node: yaml.Node, path: Path, text: str) -> None:
        self.problems.append(Problem(path, text, f"{self._place}:{node.start_mark.line + 1}"))

    def _read(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._refuse(node, path, "an alias must not stand inside its own anchor")
            return None
        self._open.add(id(node))
        value = (
            self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        )
        self._open.discard(id(node))
        return value

    def _count(self, node: yaml.Node) -> None:
        """Raises JobError at the value that is one too many: what is left of a bomb is not looked at."""
        self._values += 1
        if self._values > bounds.VALUES or len(self._open) > bounds.DEPTH:
            text = bounds.TOO_MANY if self._values > bounds.VALUES else bounds.TOO_DEEP
            raise JobError([Problem((), text, f"{self._place}:{node.start_mark.line + 1}")])

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = resolve(node.value, node.tag)
            if node.tag == PLAIN and (hint := surprise(node.value, value)):
                self.hints.append(Problem(path, hint))
            return value
        except BadScalar as bad:
            self._refuse(node, path, str(bad))
            return None

    def _sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        return [self._read(child, (*path, index)) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node in node.value:
            self._count(key_node)
            if key_node.value == _MERGE and key_node.tag == PLAIN:
                self._merge(value_node, path, found)
                continue
            key = self._key(key_node, path)
            if key in own:
                self._refuse(key_node, (*path, key), "stands twice")
            own.add(key)
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self._read(value_node, (*path, key))
        return found

    def _key(self, node: yaml.Node, path: Path) -> str:
        value = self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        if value is None or not isinstance(node, yaml.ScalarNode):
            self._refuse(node, path, "a key must be text")
            return ""
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

    def _merge(self, node: yaml.Node, path: Path, into: dict[str, Any]) -> None:
        # Earlier mappings of a list win, as in go-yaml.
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                into.update(self._read(source, path))
            else:
                self._refuse(node, path, "<< needs a mapping")


def parse(text: str, place: str) -> list[Document]:
    """All documents of a YAML text; `place` names the file in messages. Raises JobError for bad syntax, and bombs."""
    if len(text) > bounds.MOST_BYTES:
        raise JobError([Problem((), bounds.TOO_LARGE, place)])
    try:
        _look_at_depth(text, place)
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{place}:{mark.line + 1}" if mark else place
        words = " ".join(filter(None, [error.context, error.problem]))
        raise JobError([Problem((), f"is not valid YAML: {words}", where)]) from None
    except yaml.YAMLError as error:
        raise JobError([Problem((), f"is not valid YAML: {error}".splitlines()[0], place)]) from None
    return [Document(node, place) for node in nodes]


def _look_at_depth(text: str, place: str) -> None:
    """Reads along, value by value: composing a text that is too deep would end the process by a stack overflow."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        if depth > bounds.DEPTH or values > bounds.VALUES:
            mark = event.start_mark
            found = bounds.TOO_DEEP if depth > bounds.DEPTH else bounds.TOO_MANY
            raise JobError([Problem((), found, f"{place}:{mark.line + 1}" if mark else place)])
