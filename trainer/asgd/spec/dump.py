"""A checked job as YAML that every reader understands alike: what `asgd run` leaves beside its results."""

from __future__ import annotations

from typing import Any

import yaml

from asgd.spec.scalars import BadScalar, resolve
from asgd.spec.types import Job


class _Dumper(yaml.SafeDumper):
    """Quotes whatever kubectl would not read as text: PyYAML alone would leave '5e-4' and 'y' bare."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "" if _is_plain_text(value) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _is_plain_text(value: str) -> bool:
    try:
        return isinstance(resolve(value), str)
    except BadScalar:
        return False


_Dumper.add_representer(str, _text)


def dump_job(job: Job) -> str:
    """YAML of the defaulted document: complete, so a later version with other defaults runs the same job."""
    document: dict[str, Any] = job.document
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
