"""model.safetensors: a file that every tool reads, with a digest in its metadata by which `asgd check` proves it.

The digest does not depend on how the file is laid out, so rewriting the file with another tool leaves it right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asgd.errors import Damaged
from asgd.host.files import sync_folder
from asgd.host.model_digest import DIGEST, Tensors, digest


def write_model(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes the file whole or not at all, in a way that lasts. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(dict(tensors), partial, metadata={**metadata, DIGEST: digest(tensors, metadata)})
        _sort_metadata(partial)
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


def _sort_metadata(path: Path) -> None:
    """What is told about a model stands in an order of chance; sorted, the same model is the same bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        sorted_ = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(sorted_) <= length:
            file.seek(8)
            file.write(sorted_.ljust(length))


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
