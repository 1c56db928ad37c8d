"""The files of a job: those of `source`, and those of the ConfigMap that `sourceFrom` names.

On a cluster the operator copies the ConfigMap's files into the job that its pods read. On a laptop the ConfigMap is
looked for in the job's own file, as kubectl would have applied it, or its files in a folder (`--source-from`). Either
way whoever trains finds all files in `source`, so nothing else knows where they came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from asgd.errors import UserError
from asgd.spec.bounds import CONFIG_MAP_BYTES
from asgd.spec.load import documents
from asgd.spec.types import Job

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_OPTION = "--source-from"


def with_files(job: Job, path: str | Path, folder: str | None = None) -> Job:
    """`job`, read from the file `path`, with the files of `spec.sourceFrom` in its `source`.

    `folder` holds the files; without it the ConfigMap stands in `path`. Raises UserError with what is missing.
    """
    if job.spec.source_from is None:
        if folder is not None:
            raise UserError(
                f"{_OPTION}: the job in {path} has no spec.sourceFrom, whose files the folder holds"
            )
        return job
    name = job.spec.source_from.config_map
    files = _in_folder(Path(folder)) if folder is not None else _in_file(path, name)
    if files is None:
        raise UserError(
            f"spec.sourceFrom.configMap: ConfigMap {name} does not stand in {path}; add it there as a document of its"
            f" own, or name the folder of its files: {_OPTION} DIR"
        )
    return merged(job, files)


def merged(job: Job, files: Mapping[str, str]) -> Job:
    """`job` with `files` beside its own `source`, whose files win. Raises UserError for a name that is no file's."""
    for name in files:
        if not _KEY.fullmatch(name) or name in (".", ".."):
            raise UserError(f"spec.sourceFrom: {name!r} cannot be the key of a ConfigMap, nor a file's name")
    document = {**job.document, "spec": {**job.document["spec"], "source": {**files, **job.spec.source}}}
    spec = msgspec.structs.replace(job.spec, source=document["spec"]["source"])
    return msgspec.structs.replace(job, spec=spec, document=document, files=dict(files))


def missing_file(job: Job, files: Mapping[str, str]) -> str:
    """The entrypoint's file, where neither `files` nor `source` holds it; empty where one does or none is needed."""
    file = job.spec.entrypoint.partition(":")[0]
    return file if file.endswith(".py") and file not in {**files, **job.spec.source} else ""


def _in_folder(folder: Path) -> dict[str, str]:
    """The files that `kubectl create configmap NAME --from-file=FOLDER` takes: no folders inside, no odd names."""
    try:
        paths = sorted(each for each in folder.iterdir() if each.is_file() and _KEY.fullmatch(each.name))
        size = sum(each.stat().st_size for each in paths)
        if size > CONFIG_MAP_BYTES:
            raise UserError(
                f"{_OPTION}: the files in {folder} have {size:,} bytes, and a ConfigMap holds {CONFIG_MAP_BYTES:,}"
            )
        return {each.name: each.read_text(encoding="utf-8") for each in paths}
    except OSError as error:
        raise UserError(f"{_OPTION}: {error.filename or folder} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{_OPTION}: a file in {folder} is not UTF-8 text") from None


def _in_file(path: str | Path, name: str) -> dict[str, str] | None:
    """The `data` of the ConfigMap `name` in a YAML file; None where it has none."""
    for found in documents(path):
        value = found if isinstance(found, dict) else {}
        metadata = value.get("metadata")
        if value.get("kind") != "ConfigMap" or not isinstance(metadata, dict) or metadata.get("name") != name:
            continue
        data = value.get("data") or {}
        if not isinstance(data, dict) or not all(isinstance(text, str) for text in data.values()):
            raise UserError(f"{path}: data of ConfigMap {name} must map names of files to text")
        size = sum(len(text.encode()) for text in data.values())
        if size > CONFIG_MAP_BYTES:
            raise UserError(
                f"{path}: data of ConfigMap {name} has {size:,} bytes, and a ConfigMap holds {CONFIG_MAP_BYTES:,}"
            )
        return data
    return None
