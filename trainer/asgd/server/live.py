"""Live fields: what may change while a job runs reaches shard 0 by a file that it reads again when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from asgd.spec.types import JobSpec

FIELDS = ("stopAfter", "evaluation", "checkpoint", "workers", "runPolicy")


class LiveFields:
    """Watches `path`, a JSON object with some of the fields `FIELDS` of the spec; None watches nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = b""
        self._base: dict[str, Any] | None = None

    def changed(self, spec: JobSpec) -> JobSpec | None:
        """The spec with the file's fields when they differ from the last look; a damaged file changes nothing.

        NB: a field that the file no longer has is again what the first `spec` said.
        """
        self._base = self._base or msgspec.to_builtins(spec)
        text = self._read()
        if text == self._seen:
            return None
        self._seen = text
        try:
            fresh = msgspec.json.decode(text, type=dict[str, dict[str, object] | None])
            merged = dict(self._base)
            for name in FIELDS:
                if name == "stopAfter" and fresh.get(name):
                    merged[name] = fresh[name]
                else:
                    merged[name] = {**(merged[name] or {}), **(fresh.get(name) or {})}
            return msgspec.convert(merged, JobSpec)
        except msgspec.MsgspecError:
            return None

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes() if self._path else b""
        except OSError:
            return self._seen
