"""Files that outlive a machine's crash and prove that they are what was written: synced folders and sealed JSON.

A file that was renamed is at its place after a power failure only when its folder was synced, too. A seal is the CRC-32
of a JSON file's own bytes, in a field of it, so that the file stays one that every tool reads.
"""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

UNSEALED = "00000000"
"""What a file's field `crc32` holds while its CRC is computed."""
_SEAL = re.compile(rb'"crc32": ?"([0-9a-f]{8})"')


def sync_folder(folder: str | Path) -> None:
    """Makes renames and new files in `folder` last. Systems that can't do that for a folder are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sealed(text: bytes) -> bytes:
    """`text` (JSON whose field `crc32` is `UNSEALED`) with its seal."""
    found = _SEAL.search(text)
    assert found, "a file that is sealed has a field for it"
    return text[: found.start(1)] + f"{zlib.crc32(text):08x}".encode() + text[found.end(1) :]


def check_seal(data: bytes) -> None:
    """Raises ValueError when `data` is not what was sealed; an earlier version's file, without a seal, passes."""
    if found := _SEAL.search(data):
        plain = data[: found.start(1)] + UNSEALED.encode() + data[found.end(1) :]
        if f"{zlib.crc32(plain):08x}".encode() != found[1]:
            raise ValueError("its checksum does not match: a part of it was changed")
