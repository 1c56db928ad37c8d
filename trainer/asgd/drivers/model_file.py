"""model.safetensors: a file that every tool reads, with a digest in its metadata by which `asgd check` proves it.

The digest is a sha256 of the other metadata and of each tensor by name: name, type, shape, bytes. So it does not
depend on how the file is laid out, and rewriting the file with another tool leaves it right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asgd.errors import Damaged
from asgd.host.files import sync_folder

Tensors = Mapping[str, npt.NDArray[Any]]
DIGEST = "sha256"
"""Of the metadata."""


def write_model(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes the file whole or not at all, in a way that lasts. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(dict(tensors), partial, metadata={**metadata, DIGEST: digest(tensors, metadata)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path} was not written: {error}") from error
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def digest(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """The sha256 of a model and what is told about it."""
    about = {name: value for name, value in metadata.items() if name != DIGEST}
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def check_model(path: Path) -> bool:
    """Whether the file has a digest, which is right. Raises Damaged where it is wrong, OSError without a file."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if DIGEST not in metadata:
        return False
    if digest(tensors, metadata) != metadata[DIGEST]:
        raise Damaged(f"{path}: its sha256 does not match: a part of it was changed")
    return True
