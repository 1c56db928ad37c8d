"""The file of `keeping.py` in the job's object store: for workers on a cluster, which share no folder.

What a worker's own optimizer remembers lies in `optimizers/worker-INDEX.pt` under `checkpoint.uri`, one file a seat,
written again and again. Nothing here makes a step wait: files go out in a thread, the newest one when several wait, and
a store that does not answer is waited for at the start and at the end alone, and only so long. The pods need what the
store's library needs (the library itself, credentials); without it the state begins anew, which is said once.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from asgd.errors import UserError
from asgd.host.say import say
from asgd.server.saves.store import OPTIMIZERS, Store

FETCH_SECONDS = 60.0
"""So long a worker that joins waits for what its predecessor has left."""
LAST_SECONDS = 10.0
"""So long one that has ended waits until its last file is in the store."""


def object_store(uri: str) -> bool:
    """Whether processes on several machines see the same under this `checkpoint.uri`."""
    return urlsplit(uri).scheme not in ("", "file", "local")


class Afar:
    """Worker `index`'s file under `uri`, and a folder of this machine for its copy."""

    def __init__(self, uri: str, index: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="asgd-optimizer-"))
        self._uri, self._name = uri, f"worker-{index}.pt"
        self._wanted, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._sender: threading.Thread | None = None
        self._troubled = False

    def fetch(self, patience_seconds: float = FETCH_SECONDS) -> str:
        """Brings what a predecessor has left into the folder; returns why not, '' also where nobody left anything."""
        trouble = f"{self._uri} has not answered for {patience_seconds:.0f} s"
        told = [trouble]

        def bring() -> None:
            told.append(_trouble(self._bring))

        thread = threading.Thread(target=bring, daemon=True)
        thread.start()
        thread.join(patience_seconds)
        return told[-1]

    def _bring(self) -> None:
        store = Store(self._uri, make=False)
        there = store.path(OPTIMIZERS, self._name)
        if store.fs.exists(there):
            partial = self.folder / f"{self._name}.fetched"
            store.fs.get_file(there, str(partial))
            partial.replace(self.folder / self._name)

    def send(self) -> None:
        """The file in the folder is new."""
        self._idle.clear()
        self._wanted.set()
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_all, daemon=True)
            self._sender.start()

    def _send_all(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            trouble = _trouble(self._put)
            if trouble and not self._troubled:
                say(
                    f"{self._uri}: a restart begins this worker's optimizer anew, or with an older state: {trouble}"
                )
            self._troubled = bool(trouble)
            if not self._wanted.is_set():
                self._idle.set()

    def _put(self) -> None:
        store = Store(self._uri, make=False)
        out = self.folder / f"{self._name}.sent"
        out.unlink(missing_ok=True)
        # NB: the next state takes the place of this file meanwhile.
        os.link(self.folder / self._name, out)
        folder = store.path(OPTIMIZERS)
        store.fs.makedirs(folder, exist_ok=True)
        store.fs.put_file(str(out), f"{folder}/{self._name}.partial")
        store.fs.mv(f"{folder}/{self._name}.partial", f"{folder}/{self._name}")

    def close(self, patience_seconds: float = LAST_SECONDS) -> None:
        """Waits until the newest file is in the store."""
        if not self._idle.wait(patience_seconds):
            say(
                f"{self._uri}: the last state of this worker's optimizer is not in it after {patience_seconds:.0f} s"
            )


def _trouble(work: Callable[[], None]) -> str:
    try:
        work()
    except UserError as error:
        return str(error)
    except Exception as error:
        # A store's library may raise anything; it must cost a state and not the worker.
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""
