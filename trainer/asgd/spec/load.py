"""A job file and `--set` options as a checked `Job`, and a checked job as text again.

`load_job` is what every command starts with; it says all that is wrong at once, with the lines of the
user's file. `job_from_json` is for servers and workers, which get a document that is checked already: it
loads neither YAML nor schema nor CEL, and so costs them no time and no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import msgspec

from asgd.errors import UserError
from asgd.spec import bounds
from asgd.spec.problems import JobError, Path, Problem
from asgd.spec.types import Job, JobSpec

if TYPE_CHECKING:
    from asgd.spec.check import Where
    from asgd.spec.document import Document

_SET = "--set"
_MOST_HINTS = 10


def load_job(
    path: str | FilePath, sets: Sequence[str] = (), values: Sequence[tuple[tuple[str, ...], Any]] = ()
) -> Job:
    """The one AsgdJob in a YAML file, with each of `sets` (`path=value`), then of `values` written over it.

    A path of `sets` starts below `spec` unless it starts with `metadata.`; a dot inside a key is written
    `\\.`. The value is YAML, so `stopAfter={epochs: 3}` is a mapping and `image=` is null, which stands for
    the default. `values` are (steps from the document's root, what JSON can hold).

    Raises JobError (a UserError) with every problem as `FILE:LINE: field: why`.
    """
    source = _the_job(_read(path), str(path))
    hints: list[Problem] = [*source.hints]
    overridden = [_override(source.value, assignment, hints) for assignment in sets]
    put = [_put(source.value, at, value) for at, value in values]

    def where(at: Path) -> tuple[str, int]:
        for place, done in (("", put), (_SET, overridden)):
            if any(at[: len(each)] == each for each in done):
                return place, 1 << 30
        while at not in source.lines:
            at = at[:-1]
        return f"{path}:{source.lines[at]}", source.lines[at]

    job = _checked(source.value, where)
    said = list(dict.fromkeys(map(str, hints)))
    more = [f"{len(said) - _MOST_HINTS:,} more numbers are like this"] if len(said) > _MOST_HINTS else []
    return msgspec.structs.replace(job, hints=(*said[:_MOST_HINTS], *more))


def put_sets(document: dict[str, Any], sets: Sequence[str]) -> None:
    """Writes each of `sets` (`path=value`, as for `load_job`) over a document. Raises JobError."""
    for assignment in sets:
        _override(document, assignment, [])


def job_of(document: dict[str, Any], values: Sequence[tuple[tuple[str, ...], Any]] = ()) -> Job:
    """The job of a document that was written in Python, with `values` written over it. Raises JobError."""
    for at, value in values:
        _put(document, at, value)
    return _checked(document, lambda _: ("", 0))


def _checked(value: dict[str, Any], where: Where) -> Job:
    from asgd.spec.check import check_document  # not needed by who only reads checked jobs

    if found := bounds.beyond(value):
        raise JobError([Problem((), f"the job {found}")])
    given = frozenset(_given(value.get("spec")))
    document = check_document(value, where=where)
    if too_large := bounds.too_large_for_pods(document):
        raise JobError([Problem(("spec",), too_large, where(("spec",))[0])])
    return _job(document, given)


def documents(path: str | FilePath) -> list[Any]:
    """The values of all documents of a YAML file, unchecked. Raises UserError where they cannot be read."""
    from asgd.spec.document import parse

    return [found.value for found in parse(_read(path), str(path)) if found.value is not None]


def job_as_written(path: str | FilePath) -> dict[str, Any]:
    """The one AsgdJob of a file as its user wrote it, without defaults. Raises UserError."""
    value: dict[str, Any] = _the_job(_read(path), str(path)).value
    return value


def job_from_json(data: bytes) -> Job:
    """A job from the JSON of a document that `load_job` or an API server has checked; it is taken as right.

    Fields that the document leaves out take their defaults. `given` is empty: it belongs to the user's file.
    Raises UserError when it is no AsgdJob of this version, or deeper or larger than a file's may be.
    """
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        if found := bounds.beyond(document):
            raise UserError(f"The job {found}")
        return _job(document, frozenset())
    except RecursionError:
        raise UserError(f"The job {bounds.TOO_DEEP}") from None
    except (msgspec.MsgspecError, KeyError) as error:
        raise UserError(f"This is not the JSON of a checked AsgdJob: {error}") from error


def job_to_json(job: Job) -> bytes:
    """The defaulted document as JSON, as `job_from_json` reads it."""
    return msgspec.json.encode(job.document)


def _job(document: dict[str, Any], given: frozenset[str]) -> Job:
    metadata = document["metadata"]
    spec = msgspec.convert(document["spec"], JobSpec)
    return Job(metadata["name"], metadata.get("namespace", "default"), spec, document, given)


def _read(path: str | FilePath) -> str:
    try:
        with FilePath(path).open("rb") as file:
            data = file.read(bounds.MOST_BYTES + 1)  # of a device or a pipe, too, no more is wanted
        if len(data) > bounds.MOST_BYTES:
            raise UserError(f"{path}: {bounds.TOO_LARGE}")
        return data.decode()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read: it is not UTF-8 text") from None


def _the_job(text: str, place: str) -> Document:
    from asgd.spec.document import parse

    documents = [found for found in parse(text, place) if found.value is not None or found.problems]
    # As for kubectl a file may carry a claim beside its job; a lone document is meant as the job.
    jobs = documents if len(documents) == 1 else [found for found in documents if _kind(found) == "AsgdJob"]
    problems = [problem for found in documents for problem in found.problems]
    if problems:
        raise JobError(problems)
    if len(jobs) != 1:
        count = f"{len(jobs)} of its {len(documents)} documents are" if documents else "none is"
        raise JobError([Problem((), f"must hold exactly one AsgdJob, but {count}", place)])
    if not isinstance(jobs[0].value, dict):
        raise JobError([Problem((), "must be a mapping with apiVersion, kind, metadata and spec", place)])
    return jobs[0]


def _kind(found: Document) -> Any:
    return found.value.get("kind") if isinstance(found.value, dict) else None


def _override(document: dict[str, Any], assignment: str, hints: list[Problem]) -> Path:
    """Write one `path=value` into the document; returns the path that it wrote. `hints`: of what stands in it."""
    name, equals, text = assignment.partition("=")
    steps = [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", name.strip())]
    if not equals or not all(steps):
        raise JobError([Problem((), f"{assignment!r} must be path=value, as workers.replicas=8", _SET)])
    at = tuple(steps) if steps[0] in ("metadata", "spec") else ("spec", *steps)
    value, told = _value(text, at)
    hints[:] = [hint for hint in hints if hint.path[: len(at)] != at] + told
    return _put(document, at, value, _SET)


def _value(text: str, at: Path) -> tuple[Any, list[Problem]]:
    """What `text` means, and hints about it."""
    from asgd.spec.document import parse

    try:
        values = parse(text, _SET)
    except JobError as error:
        raise JobError([Problem(at, problem.text, _SET) for problem in error.problems]) from None
    problems = [problem.text for value in values for problem in value.problems]
    if len(values) > 1:
        problems.append("takes one value, not several documents")
    if problems:
        raise JobError([Problem(at, problem, _SET) for problem in problems])
    if not values:
        return None, []
    return values[0].value, [Problem((*at, *hint.path), hint.text) for hint in values[0].hints]


def _put(document: dict[str, Any], at: tuple[str, ...], value: Any, place: str = "") -> Path:
    """Returns `at`. Raises JobError where what stands on the way is no mapping; `place` tells who asked for it."""
    node = document
    for depth, step in enumerate(at[:-1]):
        inner = node.get(step)
        if inner is None:
            inner = node[step] = {}
        if not isinstance(inner, dict):
            raise JobError([Problem(at, f"{'.'.join(at[: depth + 1])} holds no fields", place)])
        node = inner
    node[at[-1]] = value
    return at


def _given(value: Any, prefix: str = "") -> Iterator[str]:
    """Dotted paths of all that is not null below a mapping, the mappings on the way included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner is not None:
                yield prefix + key
                yield from _given(inner, f"{prefix}{key}.")
