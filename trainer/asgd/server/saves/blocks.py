"""The checksums of a shard's file: CRC-32 of each block of its arrays, in the header; of the header, in the manifest.

Blocks, so that a reader proves the few bytes that it needs and no more; CRC-32, because zlib is there wherever Python
is and computes 2 GB/s without the interpreter's lock, in the saver's thread.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from asgd.kernel import F32

ELEMENTS = 1 << 20
"""Of a block; the last one of an array is shorter."""
KEY = "crc32"
"""Of the header's metadata."""

Sums = dict[str, list[int]]
"""{array: CRC-32 of each block}"""


def block_sums(arrays: Mapping[str, F32]) -> Sums:
    """The checksums of `arrays`, each of shape (n,)."""
    return {
        name: [block_sum(array[at : at + ELEMENTS]) for at in range(0, array.size, ELEMENTS)]
        for name, array in arrays.items()
    }


def block_sum(block: F32) -> int:
    """The CRC-32 of one block's bytes."""
    return zlib.crc32(block.view(np.uint8).data)


def pack(sums: Sums) -> str:
    """As it stands in the header's metadata."""
    return json.dumps({"elements": ELEMENTS, "blocks": sums})


def unpack(text: str | None) -> tuple[int, Sums] | None:
    """Elements of a block, and the checksums; None where a file has none. Raises ValueError, KeyError, TypeError."""
    if text is None:
        return None
    told: dict[str, Any] = json.loads(text)
    elements, sums = int(told["elements"]), dict(told["blocks"])
    if elements < 1:
        raise ValueError(f"its blocks have {elements} elements")
    return elements, sums
