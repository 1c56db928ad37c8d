"""Checkpoints in any store that fsspec knows: one safetensors file a shard, a manifest written last, fenced by terms.

    <uri>/terms/shard-0/000002                 claimed by a server start; the highest one may write
    <uri>/000017/shard-0-of-2.safetensors      weights and slots of a shard, its state as JSON in the metadata
    <uri>/000017/manifest.json                 written last: a save without it does not exist
    <uri>/000017/manifest-shard-1.json         where shards share no store (a pod's own volume): shard 1's view of it

Files go out under another name and are moved when complete, so a reader never sees half of one. The writer streams
from the live arrays (the safetensors library's own would copy all of them first). A save can be read back by any number
of shards: each takes the ranges it needs.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import numpy as np

from asgd.errors import Fenced, TryAgain, UserError
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.wire.partition import Range, by_name
from asgd.wire.reports import Part

_BLOCK = 1 << 22

_DAMAGE = (OSError, ValueError, KeyError, TypeError)
"""What reading a torn or foreign file may raise."""


class Store:
    """The checkpoints of one job under `uri`. Raises UserError when the URI can't be used at all."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self.fs, self.root = fsspec.core.url_to_fs(uri)
            self.fs.makedirs(self.root, exist_ok=True)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"spec.checkpoint.uri: {uri!r} cannot be written: {error}") from error
        self.local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    # -- terms -------------------------------------------------------------------------------------

    def claim_term(self, shard: int) -> int:
        """Claims the next term of a shard: whoever started last may write. Raises TryAgain when the store refuses."""
        term = self.newest_term(shard) + 1
        folder = self.path("terms", f"shard-{shard}")
        try:
            self.fs.makedirs(folder, exist_ok=True)
            while not self._create(f"{folder}/{term:06d}"):
                term += 1
        except OSError as error:
            raise TryAgain(f"checkpoint store {self.uri} cannot be written: {error}") from error
        return term

    def newest_term(self, shard: int) -> int:
        """The highest term claimed for a shard; 0 if none was."""
        names = self._names("terms", f"shard-{shard}")
        return max((int(name) for name in names if name.isdigit()), default=0)

    def check_term(self, shard: int, term: int) -> None:
        """Raises Fenced when a newer server of this shard has started, TryAgain when the store does not tell."""
        try:
            newest = self.newest_term(shard)
        except OSError as error:
            raise TryAgain(f"checkpoint store {self.uri} cannot be read: {error}") from error
        if newest > term:
            raise Fenced(f"shard {shard} of term {term} was replaced by term {newest}")

    def _create(self, path: str) -> bool:
        if self.local:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            except FileExistsError:
                return False
            return True
        try:
            self.fs.pipe_file(path, b"", mode="create")
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

    def newest(self, shard: int | None = None) -> Manifest | None:
        """The newest complete save; where there is none, the newest that `shard` kept for itself."""
        if complete := self.saves():
            return self.manifest(complete[-1])
        if shard is not None and (own := self._own_saves(shard)):
            return read_manifest(self.fs, self.path(f"{own[-1]:06d}"), _own_name(shard))
        return None

    def manifest(self, number: int) -> Manifest:
        return read_manifest(self.fs, self.path(f"{number:06d}"))

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
            written = self._replace(f"{folder}/{name}", arrays, meta)
        except OSError as error:
            raise TryAgain(f"checkpoint {folder}/{name} was not written: {error}") from error
        return Part(name, 0, 0, int(meta["version"]), written)

    def _replace(self, path: str, arrays: dict[str, F32], meta: dict[str, Any]) -> int:
        head = _header(arrays, {"asgd": json.dumps(meta)})
        partial = path + ".partial"
        with self.fs.open(partial, "wb") as file:
            file.write(head)
            for array in arrays.values():
                data = array.view(np.uint8).data
                for start in range(0, len(data), _BLOCK):
                    file.write(data[start : start + _BLOCK])
        self._move(partial, path)
        return len(head) + sum(array.nbytes for array in arrays.values())

    def _move(self, source: str, target: str) -> None:
        if self.local:
            with Path(source).open("rb") as file:
                os.fsync(file.fileno())
            Path(source).replace(target)
        else:
            self.fs.mv(source, target)

    def write_manifest(self, manifest: Manifest, name: str = "manifest.json") -> None:
        """Makes a save exist. Raises TryAgain when the store refuses."""
        path = self.path(f"{manifest.save:06d}", name)
        try:
            self.fs.pipe_file(path + ".partial", msgspec.json.format(msgspec.json.encode(manifest)))
            self._move(path + ".partial", path)
        except OSError as error:
            raise TryAgain(f"checkpoint {path} was not written: {error}") from error

    def prune(self, keep: int) -> None:
        """Removes all but the newest `keep` complete saves, and saves before them that were never completed.

        Raises TryAgain when the store refuses.
        """
        complete = self.saves()
        if not complete:
            return
        kept = set(complete[-keep:])
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


def _header(arrays: dict[str, F32], metadata: dict[str, str]) -> bytes:
    """The safetensors header: 8 bytes of length, then JSON padded to 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, array in arrays.items():
        entries[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _own_name(shard: int) -> str:
    return f"manifest-shard-{shard}.json"


def read_manifest(fs: Any, folder: str, name: str = "manifest.json") -> Manifest:
    """The manifest in a save's folder. Raises UserError when there is none or it is damaged."""
    try:
        return msgspec.json.decode(fs.cat_file(posixpath.join(folder, name)), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"spec.checkpoint.restore: {folder} holds no complete checkpoint ({error})"
        ) from error


def locate(
    store: Store, restore: str, run: str, shard: int | None = None
) -> tuple[Any, str, Manifest] | None:
    """Where a server of `run` restores from; None for a fresh start.

    A server that comes back within its run always takes the newest save. At the run's start `restore` decides:
    Latest, None (start afresh although there are saves) or the URI of a save.
    """
    newest = store.newest(shard)
    own = newest is not None and newest.run == run
    if restore == "None" and not own:
        return None
    if restore not in ("Latest", "None") and not own:
        try:
            fs, folder = fsspec.core.url_to_fs(restore)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"spec.checkpoint.restore: {restore!r} cannot be read: {error}") from error
        return fs, folder, read_manifest(fs, folder)
    if newest is None:
        return None
    return store.fs, store.path(f"{newest.save:06d}"), newest


def read_range(
    fs: Any, folder: str, manifest: Manifest, wanted: Range
) -> tuple[dict[str, F32], dict[str, Any]]:
    """The arrays of elements `wanted` and a shard's state; the state of a shard with other borders is left out.

    Reads only the bytes it needs. Raises UserError when a file is missing or damaged.
    """
    arrays: dict[str, F32] = {}
    meta: dict[str, Any] = {"version": manifest.updates, "samples": manifest.samples}
    found: Counter[str] = Counter(weights=0)
    for part in manifest.parts:
        begin, end = max(part.start, wanted.start), min(part.stop, wanted.stop)
        same = (part.start, part.stop) == (wanted.start, wanted.stop)
        if begin >= end and not same and wanted.size:
            continue
        try:
            with fs.open(posixpath.join(folder, part.file), "rb") as file:
                entries, base = _read_header(file)
                for name, entry in entries.items():
                    if name == "__metadata__":
                        continue
                    target = arrays.setdefault(name, np.zeros(wanted.size, np.float32))
                    file.seek(base + entry["data_offsets"][0] + 4 * (begin - part.start))
                    _read_into(file, target[begin - wanted.start : end - wanted.start])
                    found[name] += max(0, end - begin)
                if same:
                    meta = json.loads(entries["__metadata__"]["asgd"])
        except _DAMAGE as error:
            raise _unreadable(folder, part, error) from error
    for name, count in found.items():
        if count != wanted.size:
            text = f"{folder} has {count} of the {wanted.size} {name} that this shard needs"
            raise UserError(f"spec.checkpoint.restore: {text}")
    return arrays, meta


def array_names(fs: Any, folder: str, manifest: Manifest) -> set[str]:
    """What a save holds of each shard: weights and the optimizer's state. Raises UserError as `read_state`."""
    part = manifest.parts[0]
    try:
        with fs.open(posixpath.join(folder, part.file), "rb") as file:
            entries, _ = _read_header(file)
    except _DAMAGE as error:
        raise _unreadable(folder, part, error) from error
    return set(entries) - {"__metadata__"}


def read_state(fs: Any, folder: str, manifest: Manifest) -> dict[str, Any]:
    """The job's own state, which shard 0 wrote. Raises UserError when its file is missing or damaged."""
    part = manifest.parts[0]
    try:
        with fs.open(posixpath.join(folder, part.file), "rb") as file:
            entries, _ = _read_header(file)
        state: dict[str, Any] = json.loads(entries["__metadata__"]["asgd"])["job"]
    except _DAMAGE as error:
        raise _unreadable(folder, part, error) from error
    return state


def _unreadable(folder: str, part: Part, error: Exception) -> UserError:
    return UserError(f"spec.checkpoint.restore: {folder}/{part.file} cannot be read: {error}")


def _read_header(file: Any) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length < 1 << 28:
        raise ValueError("not a safetensors file")
    entries = json.loads(file.read(length))
    if not isinstance(entries, dict):
        raise ValueError("not a safetensors file")
    return entries, 8 + length


def _read_into(file: Any, target: F32) -> None:
    if not target.size:
        return
    view = target.view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:]) if hasattr(file, "readinto") else 0
        if not count:
            raise ValueError(f"the file ends {len(view) - done} bytes early")
        done += count


def assemble(fs: Any, folder: str, manifest: Manifest) -> dict[str, F32]:
    """The whole model of a save, {parameter name: array of its shape}."""
    arrays, _ = read_range(fs, folder, manifest, Range(0, manifest.size))
    return by_name(arrays["weights"], manifest.tensors)
