"""From Python's keyword arguments to fields of a job: names in snake_case, short names, and values as JSON holds them.

Pure. What a field may be is not decided here: a name that nobody knows goes on as it is, so that the complaint is the
command line's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from asgd.spec import bounds
from asgd.spec.problems import JobError, Path, Problem
from asgd.spec.schema import Schema, field_of, structural
from asgd.worker.task.sent import FILE

SHORT = {
    "workers": ("workers", "replicas"),
    "shards": ("parameterServer", "shards"),
    "epochs": ("stopAfter", "epochs"),
    "updates": ("stopAfter", "updates"),
    "learning_rate": ("optimizer", "learningRate"),
    "algorithm": ("algorithm", "name"),
    "optimizer": ("optimizer", "name"),
}
"""Fields that have a short name. Where the name is a field's as well, a mapping is meant as that field."""
Values = list[tuple[tuple[str, ...], Any]]
"""(steps from the root of the job, what JSON can hold)"""


def values_of(keywords: Mapping[str, Any], sets: Mapping[str, Any] | None) -> Values:
    """Whole fields first, then what has a short name, then `sets`, whose keys are dotted paths as those of `--set`.

    Raises JobError for what JSON can't hold.
    """
    whole, single = Values(), Values()
    for name, value in keywords.items():
        if name in SHORT and not isinstance(value, Mapping):
            at = ("spec", *SHORT[name])
            single.append((at, plain(value, at)))
        else:
            whole.append(_spelled(("spec", name), value))
    for path, value in (sets or {}).items():
        steps = [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", str(path).strip())]
        if not all(steps):
            raise JobError([Problem((), f"{path!r} must be a path, as workers.replicas", "set")])
        rooted = steps if steps[0] in ("metadata", "spec") else ["spec", *steps]
        single.append(_spelled(tuple(rooted), value))
    return whole + single


def filled_in(values: Values, fields: Mapping[str, Any]) -> Values:
    """`values`, and before them what a Task is made for (`Task.fields`) and nobody has said otherwise."""
    found = Values()
    for path, value in fields.items():
        steps = ("spec", *path.split("."))
        # NB: rules to stop by are said together.
        asked = steps[:2] if steps[1] == "stopAfter" else steps
        if not any(at[: len(asked)] == asked or asked[: len(at)] == at for at, _ in values):
            found.append((steps, plain(value, steps)))
    return found + values


def document_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """A whole AsgdJob from a mapping that is one, or its spec. Raises JobError for what JSON can't hold."""
    whole = "spec" in value or "kind" in value
    given = plain(value if whole else {"spec": value}, () if whole else ("spec",))
    document = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", **in_camel_case(given, structural())}
    if isinstance(document.get("metadata", {}), dict):
        spec = document.get("spec")
        entrypoint = spec.get("entrypoint") if isinstance(spec, dict) else None
        document["metadata"] = {"name": job_name(str(entrypoint or "")), **document.get("metadata", {})}
    return document


def job_name(entrypoint: str) -> str:
    """A name as Kubernetes wants it: of the callable, or of its module where the callable is just `task`."""
    place, _, name = entrypoint.removeprefix(f"{FILE}:").rpartition(":")
    stem = place.removesuffix(".py").rpartition("/")[2].rpartition(".")[2]
    words = stem if stem and name in ("task", "") else name.removesuffix(".py").rpartition("/")[2]
    text = re.sub(r"[^a-z0-9]+", "-", words.lower()).lstrip("-0123456789")[:40].rstrip("-")
    return text or "task"


def _spelled(at: tuple[str, ...], value: Any) -> tuple[tuple[str, ...], Any]:
    """Path and value with the CRD's names."""
    schema: Schema | None = structural()
    steps = []
    for step in at:
        steps.append(_key(step, schema))
        schema = schema and field_of(schema, steps[-1])
    return tuple(steps), in_camel_case(plain(value, tuple(steps)), schema)


def in_camel_case(value: Any, schema: Schema | None) -> Any:
    """`value` with the CRD's names where it was given names in snake_case; keys that are the user's stay."""
    if schema is None:
        return value
    if isinstance(value, dict):
        renamed = [(_key(key, schema), inner) for key, inner in value.items()]
        return {key: in_camel_case(inner, field_of(schema, key)) for key, inner in renamed}
    if isinstance(value, list):
        return [in_camel_case(inner, schema.get("items")) for inner in value]
    return value


def _key(key: str, schema: Schema | None) -> str:
    known = (schema or {}).get("properties", {})
    first, *rest = key.split("_")
    camel = first + "".join(word.capitalize() for word in rest)
    return camel if key not in known and camel in known else key


def plain(value: Any, at: Path) -> Any:
    """`value` as JSON holds it: numbers of numpy and torch as Python's, tuples as lists, paths as text.

    Raises JobError where JSON has nothing like it, or for what is deeper or larger than a job; `at` is where it stands.
    """
    if found := bounds.beyond(value):
        raise JobError([Problem(at, found)])
    return _plain(value, at)


def _plain(value: Any, at: Path) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise JobError([Problem(at, f"{value} is not a finite number")])
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)  # NB: str() of an enumeration's member is its name
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, (*at, str(key))) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, (*at, index)) for index, inner in enumerate(value)]
    if isinstance(value, PathLike):
        return fspath(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return _plain(value.item(), at)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), at)
    raise JobError(
        [
            Problem(
                at,
                f"{type(value).__name__} cannot stand in a job; allowed are numbers, text, true, false, null, lists"
                " and mappings",
            )
        ]
    )


def options_of(keywords: Mapping[str, Any]) -> Iterator[str]:
    """Command line options: `latency=0.01` as --latency 0.01, `straggler=["0:4", "1:2"]` as one --straggler each."""
    for name, value in keywords.items():
        several = value if isinstance(value, (list, tuple)) else [value]
        for one in several:
            yield f"--{name.replace('_', '-')}={one}"
