"""The code of a function, or of a Task, as files that a job takes along in `spec.source`.

By name, when it stands in a module of its own: that file and the modules beside it that it imports. By value, all else:
pickled into a file, which the same minor version of Python can read.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgd.client.packing import read, with_imports
from asgd.errors import UserError
from asgd.interactive.sending import by_name, by_value
from asgd.worker.task.sent import FILE, PICKLE, TEXT_ALONE, version

_LINE = 100


@dataclass(frozen=True, slots=True)
class Code:
    """What `spec.entrypoint` and `spec.source` become."""

    entrypoint: str
    files: dict[str, str]


def code_of(task: Any) -> Code:
    """Of a function that returns a Task, or of a Task. Raises UserError for what cannot be sent."""
    of_task = type(task).__module__ == "asgd.task" and type(task).__name__ == "Task"
    if not of_task and (not callable(task) or isinstance(task, type)):
        raise UserError(
            f"asgd.client.submit: {task!r:.60} is of type {type(task).__name__}; allowed are a function that returns an"
            " asgd.Task, a Task, the path of a YAML, a Python file or a folder, and a mapping with a job or its spec"
        )
    found = by_name(task, Path.cwd())
    if found is None:
        return _by_value(task)
    module, _, name = found.text.partition(":")
    if module == "asgd" or module.startswith("asgd."):
        return Code(found.text, {})
    file = Path(str(sys.modules[module].__file__))
    if "." in module or file.name == "__init__.py":
        raise UserError(
            f"asgd.client.submit: {found.text} is part of a package, and spec.source holds single files: build the"
            f" package into an image, FROM the trainer image, and submit {{'entrypoint': {found.text!r}, 'image': ...}}"
        )
    return Code(f"{file.name}:{name}", with_imports({file.name: read(file)}, file.parent))


def _by_value(task: Any) -> Code:
    with tempfile.TemporaryDirectory() as folder:
        entrypoint = by_value(task, Path(folder), Path.cwd())
        data = (Path(folder) / PICKLE).read_bytes()
    name = entrypoint.text.partition(":")[2]
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    digest = hashlib.sha256(data).hexdigest()
    return Code(
        entrypoint.text, {FILE: TEXT_ALONE.format(name=name, sha256=digest, python=version(), text=lines)}
    )
