"""The codecs that a benchmark compares: fields of the job for each, and whether this version has it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from asgd.spec import JobError, load_job
from asgd_bench.servers import JOB

CODECS: dict[str, list[str]] = {
    "fp32": [],
    "bf16": ["codec.push=bf16", "codec.pull=bf16"],
    "int8+EF both ways": ["codec.push=int8", "codec.pull=int8"],
    "1 bit+EF, int8 pull": ["codec.push=onebit", "codec.pull=int8"],
    "top 1 %+EF, bf16 pull": ["codec.push=topk", "codec.pull=bf16"],
    "top 1 %+EF, pull top 5 %": ["codec.push=topk", "codec.pull=topk", "codec.pullTopRatio=0.05"],
}
LOSSY = ("int8", "1 bit", "top")
"""How the names of those begin that an update does not apply exactly."""


def allowed(sets: Sequence[str]) -> bool:
    """Whether a job with these fields is valid in this version."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(JOB, encoding="utf-8")
        try:
            load_job(path, sets)
        except JobError:
            return False
    return True
