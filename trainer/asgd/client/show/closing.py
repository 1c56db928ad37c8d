"""The lines that close a followed job: how it ended, what it reached, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from asgd.client.documents import Document, condition, ended, keeps_checkpoints, name_of, part
from asgd.report import units


def closing(job: Document) -> str:
    return "\n".join(f"{what:<11}{text}" for what, text in _lines(job) if text)


def _lines(job: Document) -> Iterator[tuple[str, str]]:
    end, name = ended(job), name_of(job)
    training = part(job, "status", "training") or {}
    checkpoint = part(job, "status", "checkpoint") or {}
    yield "reached", _reached(training)
    if end:
        found = condition(job, end)
        yield ("stopped" if end == "Complete" else "failed"), f"{found.get('reason')}: {found.get('message')}"
    else:
        yield "suspended", f"go on by: kubectl asgd resume {name}"
    if training.get("stalenessP99") is not None:
        yield "staleness", f"p50 {training.get('stalenessP50', 0)}, p99 {training['stalenessP99']}"
    lost = training.get("lostUpdates")
    yield "lost", units.plural(lost, "update") if lost else ""
    if checkpoint.get("lastUri"):
        yield "checkpoint", f"of update {checkpoint.get('lastUpdates', 0):,}: {checkpoint['lastUri']}"
    if end == "Failed":
        yield "why", f"kubectl asgd explain {name}; kubectl asgd logs {name} --tail=30"
    elif end:
        yield (
            "model",
            (
                f"kubectl asgd model {name}"
                if keeps_checkpoints(job)
                else "gone with its servers; the next time: kubectl asgd submit --checkpoints CLAIM"
            ),
        )


def _reached(training: Document) -> str:
    if not training.get("updates"):
        return ""
    parts = [f"{name} {units.number(value)}" for name, value in (training.get("metrics") or {}).items()]
    if training.get("loss") is not None:
        parts.append(f"loss {units.number(training['loss'])}")
    epochs = f" ({training['epochs']:.1f} epochs)" if training.get("epochs") else ""
    parts.append(
        f"{units.plural(training['updates'], 'update')}, {units.plural(training.get('samples', 0), 'sample')}{epochs}"
    )
    return ", ".join(parts)
