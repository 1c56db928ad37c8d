"""Live fields: what may change while a job runs reaches shard 0 as a JSON object with some fields of the spec."""

from __future__ import annotations

import msgspec

from asgd.spec.types import JobSpec

FIELDS = ("stopAfter", "evaluation", "checkpoint", "workers", "runPolicy")


def merged(spec: JobSpec, text: bytes) -> JobSpec | None:
    """The spec with the live fields in `text`; None when it is damaged: then nothing changes."""
    try:
        fresh = msgspec.json.decode(text, type=dict[str, dict[str, object] | None])
        fields = msgspec.to_builtins(spec)
        for name in FIELDS:
            if name == "stopAfter" and fresh.get(name):
                fields[name] = fresh[name]
            else:
                fields[name] = {**(fields[name] or {}), **(fresh.get(name) or {})}
        return msgspec.convert(fields, JobSpec)
    except msgspec.MsgspecError:
        return None
