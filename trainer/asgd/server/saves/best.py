"""The best evaluated model in a checkpoint store: one whole model file, and a record that names and proves it.

    <uri>/best/best.json                         which file it is, of which evaluation, and its sha256; written last
    <uri>/best/000001200-term-000002.safetensors  the model, as `asgd run` would save it

The file is written first, under a name of its own, so that at each moment the record names a file that is whole. The
evaluator writes; one that was replaced by another may no more: it claims terms there as servers do in the store, and
all in a folder of its own, for it may run as another user. What the record does not name is removed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from asgd.errors import Damaged, TryAgain
from asgd.host.files import UNSEALED, check_seal, sealed
from asgd.host.model_digest import DIGEST, digest
from asgd.server.saves.store import Store, header

FOLDER, RECORD, SEAT = "best", "best.json", "evaluator"
_SUFFIX = ".safetensors"

Tensors = Mapping[str, npt.NDArray[Any]]


class BestRecord(Struct, rename="camel", frozen=True):
    """The best evaluation of a job."""

    job: str
    run: str
    """Which start of the job has evaluated it."""
    metric: str
    mode: str
    value: float
    updates: int
    samples: int
    file: str = ""
    bytes: int = 0
    sha256: str = ""
    """As in the file's metadata."""
    crc32: str = UNSEALED
    """Of the record itself."""


def place(uri: str) -> str:
    """Where the best model of the checkpoint store `uri` lies."""
    return f"{uri.rstrip('/')}/{FOLDER}"


def read(store: Store) -> BestRecord | None:
    """The record in the store at `place`, None without one. Raises Damaged, TryAgain when the store does not tell."""
    path = store.path(RECORD)
    try:
        if not store.fs.exists(path):
            return None
        data = store.fs.cat_file(path)
    except OSError as error:
        raise TryAgain(f"checkpoint store {store.uri} cannot be read: {error}") from error
    try:
        check_seal(data)
        return msgspec.json.decode(data, type=BestRecord)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error


def write(store: Store, term: int, record: BestRecord, tensors: Tensors, lacks: str) -> BestRecord:
    """Puts a model in the place of the one before; `term`: of this evaluator. Returns the record as it was written.

    Raises Fenced where another evaluator has started since, TryAgain when the store refuses.
    """
    store.check_term(SEAT, term)
    about = {
        "updates": str(record.updates),
        "job": record.job,
        "lacks": lacks,
        record.metric: repr(record.value),
    }
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    proof = digest(arrays, about)
    file = f"{record.updates:09d}-term-{term:06d}{_SUFFIX}"
    try:
        head = header(arrays, dict(sorted((about | {DIGEST: proof}).items())))
        parts = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
        size = store.replace(store.path(file), head, parts)
        written = replace(record, file=file, bytes=size, sha256=proof, crc32=UNSEALED)
        text = sealed(msgspec.json.format(msgspec.json.encode(written)))
        store.replace(store.path(RECORD), text, ())
    except (OSError, KeyError) as error:
        raise TryAgain(f"{store.path(file)} was not written: {error}") from error
    _sweep(store, file)
    return written


def path_of(store: Store, record: BestRecord) -> str:
    """Where the model lies, in the store's file system."""
    return store.path(record.file)


def _sweep(store: Store, file: str) -> None:
    """NB: what stays because the store refuses is removed after the next one."""
    with suppress(OSError):
        for path in store.fs.ls(store.root, detail=False):
            name = posixpath.basename(path)
            if name != file and name.removesuffix(".partial").endswith(_SUFFIX):
                store.fs.rm_file(path)
