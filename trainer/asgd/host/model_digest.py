"""The digest by which a model file proves itself: sha256 of its other metadata and of each tensor by name.

Name, type, shape and bytes count, so that it does not depend on how the file is laid out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = Mapping[str, npt.NDArray[Any]]
DIGEST = "sha256"
"""Of the metadata."""


def digest(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """The sha256 of a model and what is told about it."""
    about = {name: value for name, value in metadata.items() if name != DIGEST}
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
