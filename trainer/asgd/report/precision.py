"""In which types a job's weights are kept and sent, in one line for people and for summary.json."""

from __future__ import annotations

from collections.abc import Mapping

from asgd.spec.types import Codec

FULL = "fp32"
_SHORT = {"float32": FULL, "bfloat16": "bf16", "float16": "fp16"}


def precision(kinds: Mapping[str, int], codec: Codec) -> str:
    """`weights fp32 on servers, bf16 in workers; pushes fp32, pulls fp32`.

    `kinds`: {type: trained parameters of that type} of the model in a worker; empty where nobody knows yet.
    """
    own = " and ".join(_SHORT.get(kind, kind) for kind in kinds)
    where = "on servers and in workers" if own == FULL else f"on servers, {own} in workers"
    return f"weights {FULL} {where if own else 'on servers'}; pushes {codec.push}, pulls {codec.pull}"


def full(line: str) -> bool:
    """Whether `line`, as `precision` made it, says that everything is float32 as far as anybody knows."""
    return line in ("", precision({}, Codec()), precision({"float32": 1}, Codec()))
