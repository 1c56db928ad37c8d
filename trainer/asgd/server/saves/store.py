"""Checkpoints in any store that fsspec knows: one safetensors file a shard, a manifest written last, fenced by terms.

    <uri>/terms/shard-0/000002                 claimed by a server start of the run that it names; the highest may write
    <uri>/000017/shard-0-of-2.safetensors      weights and slots of a shard, its state as JSON in the metadata
    <uri>/000017/manifest.json                 written last: a save without it does not exist
    <uri>/000017/manifest-shard-1.json         where shards share no store (a pod's own volume): shard 1's view of it
    <uri>/optimizers/worker-0.pt               what a worker's own optimizer remembers, if it has one (`Task.optimizer`)

Files go out under another name and are moved when complete, so a reader never sees half of one. The writer streams
from the live arrays (the safetensors library's own would copy all of them first). Every file proves itself when it is
read back (`blocks.py`, `reading.py`).
"""

from __future__ import annotations

import json
import os
import posixpath
import zlib
from collections.abc import Collection, Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from asgd.errors import Damaged, Fenced, FencedByOther, TryAgain, UserError
from asgd.host.files import UNSEALED, sealed, sync_folder
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.saves.blocks import KEY, block_sums, pack
from asgd.server.saves.opening import open_uri
from asgd.server.saves.reading import read_manifest
from asgd.wire.reports import Part

OPTIMIZERS = "optimizers"
"""The folder of what workers' own optimizers remember; their states go with no save of their own."""
_BLOCK = 1 << 22
_TYPES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
"""NumPy's names of what safetensors calls otherwise."""


class Store:
    """The checkpoints of one job under `uri`, which is made unless `make` is false. Raises UserError for a bad URI."""

    def __init__(self, uri: str, *, make: bool = True) -> None:
        self.uri = uri
        self._run = ""
        try:
            self.fs, self.root = open_uri(uri)
            if make:
                self.fs.makedirs(self.root, exist_ok=True)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"spec.checkpoint.uri: {uri!r} cannot be written: {error}") from error
        self.local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    # -- terms -------------------------------------------------------------------------------------

    def claim_term(self, shard: int | str, run: str = "") -> int:
        """Claims the next term of a shard, or of another role by its name, for `run`: who started last may write.

        Raises TryAgain when the store refuses.
        """
        self._run = run
        term = self.newest_term(shard) + 1
        folder = self.path("terms", _seat(shard))
        try:
            self.fs.makedirs(folder, exist_ok=True)
            while not self._create(f"{folder}/{term:06d}", run.encode()):
                term += 1
        except OSError as error:
            raise TryAgain(f"checkpoint store {self.uri} cannot be written: {error}") from error
        return term

    def newest_term(self, shard: int | str) -> int:
        """The highest term claimed for a shard; 0 if none was."""
        names = self._names("terms", _seat(shard))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def check_term(self, shard: int | str, term: int) -> None:
        """Raises Fenced when a newer server of this shard has started (FencedByOther: of another run).

        Raises TryAgain when the store does not tell.
        """
        try:
            newest = self.newest_term(shard)
            name = f"{newest:06d}"
            run = self.fs.cat_file(self.path("terms", _seat(shard), name)) if newest > term else b""
        except OSError as error:
            raise TryAgain(f"checkpoint store {self.uri} cannot be read: {error}") from error
        if newest > term:
            other = bool(run) and run != self._run.encode()
            text = f"{_seat(shard).replace('-', ' ')} of term {term} was replaced by term {newest}"
            raise FencedByOther(f"{text}, of another run") if other else Fenced(text)

    def _create(self, path: str, data: bytes) -> bool:
        if self.local:
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
            with suppress(OSError):  # a full disk has room for the name, which is what counts
                os.write(descriptor, data)
            os.close(descriptor)
            sync_folder(posixpath.dirname(path))
            return True
        try:
            self.fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    # -- saves -------------------------------------------------------------------------------------

    def saves(self) -> list[int]:
        """Numbers of complete saves, oldest first."""
        return sorted(r for r in self.begun() if self.fs.exists(self.path(f"{r:06d}", "manifest.json")))

    def begun(self) -> list[int]:
        """Numbers of saves that were begun, complete or not."""
        return sorted(int(name) for name in self._names() if name.isdigit())

    def newest(self, shard: int | None = None, skip: Container[int] = ()) -> Manifest | None:
        """The newest complete save that is not in `skip`; where there is none, the newest that `shard` kept for itself.

        Raises Damaged, with the save's number, when its manifest is.
        """
        complete = [number for number in self.saves() if number not in skip]
        own = [] if complete or shard is None else [r for r in self._own_saves(shard) if r not in skip]
        if not complete and not own:
            return None
        number, name = (complete[-1], "manifest.json") if complete else (own[-1], _own_name(shard or 0))
        try:
            return read_manifest(self.fs, self.path(f"{number:06d}"), name)
        except Damaged as error:
            error.save = number
            raise

    def manifest(self, number: int) -> Manifest:
        return read_manifest(self.fs, self.path(f"{number:06d}"))

    def undo(self, after: int, shard: int) -> None:
        """The job goes back to save `after`: those after it do not exist any more for `shard`, nor, as far as it is
        shard 0's, for the job. Their numbers stay taken.

        Raises TryAgain when the store refuses.
        """
        name = _own_name(shard) if shard else "manifest.json"
        for number in self.begun():
            path = self.path(f"{number:06d}", name)
            try:
                if number > after and self.fs.exists(path):
                    self.fs.rm_file(path)
            except OSError as error:
                raise TryAgain(f"checkpoint {path} was not removed: {error}") from error

    def drop_optimizers(self) -> None:
        """A job begins anew here, and so does what its workers' own optimizers remember.

        Raises TryAgain when the store refuses.
        """
        folder = self.path(OPTIMIZERS)
        try:
            if self.fs.exists(folder):
                self.fs.rm(folder, recursive=True)
        except OSError as error:
            raise TryAgain(f"{folder}, of an earlier job, was not removed: {error}") from error

    def _own_saves(self, shard: int) -> list[int]:
        name = _own_name(shard)
        return sorted(r for r in self.begun() if self.fs.exists(self.path(f"{r:06d}", name)))

    def keep_own(self, manifest: Manifest, shard: int, keep: int) -> None:
        """Shard 0 has completed a save, but in a store that this shard does not see: it keeps its part for itself.

        Does nothing where the save's manifest is visible. Raises TryAgain when the store refuses.
        """
        if self.fs.exists(self.path(f"{manifest.save:06d}", "manifest.json")):
            return
        self.write_manifest(manifest, _own_name(shard))
        kept = self._own_saves(shard)[-keep:]
        for number in self.begun():
            if number not in kept and number < manifest.save:
                self._remove(number)

    def write_part(
        self, number: int, shard: int, shards: int, arrays: dict[str, F32], meta: dict[str, Any]
    ) -> Part:
        """Writes a shard's file of a save. Raises TryAgain when the store refuses (full, gone)."""
        folder = self.path(f"{number:06d}")
        name = f"shard-{shard}-of-{shards}.safetensors"
        try:
            self.fs.makedirs(folder, exist_ok=True)
            written, head = self._replace(f"{folder}/{name}", arrays, meta)
        except OSError as error:
            self._discard(folder, f"{name}.partial")
            raise TryAgain(f"checkpoint {folder}/{name} was not written: {error}") from error
        return Part(name, 0, 0, int(meta["version"]), written, zlib.crc32(head))

    def _discard(self, folder: str, partial: str) -> None:
        """Gives a full disk back what a file that did not find room has taken."""
        with suppress(OSError):
            self.fs.rm_file(f"{folder}/{partial}")
        if self.local:
            with suppress(OSError):
                Path(folder).rmdir()

    def _replace(self, path: str, arrays: dict[str, F32], meta: dict[str, Any]) -> tuple[int, bytes]:
        """How many bytes were written, and the header among them."""
        head = header(arrays, {"asgd": json.dumps(meta), KEY: pack(block_sums(arrays))})
        return self.replace(path, head, [array.view(np.uint8).data for array in arrays.values()]), head

    def replace(self, path: str, head: bytes, parts: Iterable[memoryview]) -> int:
        """Writes a file whole or not at all, in a way that lasts: `head`, then `parts` (bytes). Returns its size.

        Raises OSError.
        """
        partial, written = path + ".partial", len(head)
        with self.fs.open(partial, "wb") as file:
            file.write(head)
            for data in parts:
                for start in range(0, len(data), _BLOCK):
                    file.write(data[start : start + _BLOCK])
                written += len(data)
        self._move(partial, path)
        return written

    def _move(self, source: str, target: str) -> None:
        if self.local:
            with Path(source).open("rb") as file:
                os.fsync(file.fileno())
            Path(source).replace(target)
            sync_folder(Path(target).parent)
        else:
            self.fs.mv(source, target)

    def write_manifest(self, manifest: Manifest, name: str = "manifest.json") -> None:
        """Makes a save exist. Raises TryAgain when the store refuses."""
        path = self.path(f"{manifest.save:06d}", name)
        try:
            text = msgspec.json.format(msgspec.json.encode(replace(manifest, crc32=UNSEALED)))
            self.fs.pipe_file(path + ".partial", sealed(text))
            self._move(path + ".partial", path)
            if self.local:
                sync_folder(self.root)  # the save's own folder may be as new as the file
        except OSError as error:
            raise TryAgain(f"checkpoint {path} was not written: {error}") from error

    def prune(self, keep: int, spared: Collection[int] = ()) -> None:
        """Removes all but the newest `keep` complete saves and those `spared`, and saves before them that were never
        completed.

        Raises TryAgain when the store refuses.
        """
        complete = self.saves()
        if not complete:
            return
        kept = {*complete[-keep:], *spared}
        for number in self.begun():
            if number not in kept and number < complete[-1]:
                self._remove(number)

    def _remove(self, number: int) -> None:
        folder = self.path(f"{number:06d}")
        try:
            self.fs.rm(folder, recursive=True)
        except OSError as error:
            raise TryAgain(f"old checkpoint {folder} was not removed: {error}") from error

    def _names(self, *folder: str) -> list[str]:
        path = self.path(*folder)
        # NB: object stores cache listings, and others write here.
        self.fs.invalidate_cache(path)
        if not self.fs.exists(path):
            return []
        return [posixpath.basename(entry.rstrip("/")) for entry in self.fs.ls(path, detail=False)]


def header(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The safetensors header: 8 bytes of length, then JSON padded to 8 bytes. Raises KeyError for a foreign type."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        entries[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _seat(shard: int | str) -> str:
    """The folder of claims."""
    return f"shard-{shard}" if isinstance(shard, int) else shard


def _own_name(shard: int) -> str:
    return f"manifest-shard-{shard}.json"
