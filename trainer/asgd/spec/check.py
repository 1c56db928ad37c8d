"""Judges one job document as the API server would: nulls, defaults, schema, then the CRD's rules.

The order is the API server's, and so is the choice to leave out the rules while the document does not even
fit the schema's types: their complaints would be about our own confusion.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from asgd.spec.groups import check_groups
from asgd.spec.problems import JobError, Path, Problem
from asgd.spec.rules import check_rules
from asgd.spec.schema import check_schema, drop_nulls, fill_defaults, structural

Where = Callable[[Path], tuple[str, int]]
"""The place of a path (`job.yaml:7`) and the line by which problems are sorted."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """A copy with the CRD's defaults filled in and without `status`, which is the operator's alone."""
    result = copy.deepcopy({key: value for key, value in document.items() if key != "status"})
    drop_nulls(result, structural())
    fill_defaults(result, structural())
    return result


def check_document(
    document: dict[str, Any], old: dict[str, Any] | None = None, where: Where | None = None
) -> dict[str, Any]:
    """The defaulted document, once it is proved right; `old` is the version that this edit replaces.

    Raises JobError with all problems, each at the place that `where` knows for it.
    """
    result = complete(document)
    problems, sound = check_schema(result)
    if sound:
        said = {problem.path for problem in problems}
        broken = check_rules(result, complete(old) if old is not None else None)
        problems += [problem for problem in (*broken, *check_groups(result)) if problem.path not in said]
    if problems:
        raise JobError(_placed(problems, where or (lambda _: ("", 0))))
    return result


def _placed(problems: list[Problem], where: Where) -> list[Problem]:
    def line(problem: Problem) -> int:
        return where(problem.path)[1]

    return [Problem(p.path, p.text, where(p.path)[0]) for p in sorted(problems, key=line)]
