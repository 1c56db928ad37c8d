"""What a run leaves behind: summary.json, curves.png, model.safetensors, and the closing lines a person reads."""

from __future__ import annotations

import sys

from safetensors.numpy import save_file

from asgd.drivers.output import Output
from asgd.report import curves, summary
from asgd.server.checkpoint import Store, assemble
from asgd.spec import Job
from asgd.status import Status


def leave_files(job: Job, status: Status, output: Output, checkpoint_uri: str) -> None:
    """Writes the files and prints the closing lines."""
    told = summary.summarize(status, job.spec)
    summary.write(told, output.file("summary.json"))
    if status.updates:
        curves.draw(output.file("history.jsonl"), output.file("curves.png"), job.name)
    _save_model(output, checkpoint_uri, status.stop_reason)
    for line in summary.describe(told, output.folder):
        print(line)
    sys.stdout.flush()


def _save_model(output: Output, checkpoint_uri: str, reason: str) -> None:
    """The parameters of the newest checkpoint under their own names; a diverged model is nobody's model."""
    store = Store(checkpoint_uri)
    newest = store.newest()
    if newest is None or reason == "diverged":
        return
    tensors = assemble(store.fs, store.path(f"{newest.round:06d}"), newest)
    partial = output.file("model.safetensors.partial")
    save_file(tensors, partial, metadata={"updates": str(newest.updates), "job": newest.job})
    partial.replace(output.file("model.safetensors"))
