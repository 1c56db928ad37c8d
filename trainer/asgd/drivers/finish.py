"""What a run leaves behind: summary.json, curves.png, model.safetensors, and the closing lines a person reads."""

from __future__ import annotations

import sys

from safetensors.numpy import load_file, save_file

from asgd.drivers.output import Output
from asgd.drivers.probe import Findings
from asgd.report import curves, summary
from asgd.server.checkpoint import Store, assemble
from asgd.spec import Job
from asgd.status import Status


def leave_files(job: Job, status: Status, output: Output, checkpoint_uri: str, findings: Findings) -> None:
    """Writes the files and prints the closing lines."""
    told = summary.summarize(status, job.spec)
    summary.write(told, output.file("summary.json"))
    if status.updates:
        curves.draw(output.file("history.jsonl"), output.file("curves.png"), job.name)
    if status.stop_reason != "diverged":  # a diverged model is nobody's model
        _save_model(output, checkpoint_uri, findings)
    for line in summary.describe(told, output.folder):
        print(line)
    sys.stdout.flush()


def _save_model(output: Output, checkpoint_uri: str, findings: Findings) -> None:
    """The newest checkpoint's parameters under all their names, with the evaluator's extras; `lacks` names the rest."""
    store = Store(checkpoint_uri)
    newest = store.newest()
    if newest is None:
        return
    tensors = assemble(store.fs, store.path(f"{newest.round:06d}"), newest)
    tensors |= {second: tensors[name].copy() for second, name in findings.aliases.items() if name in tensors}
    if output.extras.exists():
        tensors |= load_file(output.extras)
        output.extras.unlink()
    lacks = ", ".join(name for name in findings.extras if name not in tensors)
    if findings.script:
        lacks = "buffers and frozen parameters, if the script's model has any"
    partial = output.file("model.safetensors.partial")
    save_file(tensors, partial, metadata={"updates": str(newest.updates), "job": newest.job, "lacks": lacks})
    partial.replace(output.file("model.safetensors"))
