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
    """YAML of the defaulted document: complete, so a later version with other defaults runs the same job.

    With `sourceFrom` a second document holds its files.
    """
    document: dict[str, Any] = job.document
    if job.spec.source_from is None or not job.files:
        return as_yaml(document)
    # As a user writes it: the ConfigMap beside the job, for `source` has bounds that a ConfigMap's files need not meet.
    own = {name: text for name, text in job.spec.source.items() if job.files.get(name) != text}
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": job.spec.source_from.config_map, "namespace": job.namespace},
        "data": job.files,
    }
    return f"{as_yaml({**document, 'spec': {**document['spec'], 'source': own}})}---\n{as_yaml(files)}"


def as_yaml(document: Any) -> str:
    """Of any JSON value: text of several lines as lines, fields in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
