"""What a loop of the user's own may not ask for, in a sentence each."""

from __future__ import annotations

from asgd.errors import UserError
from asgd.spec.types import JobSpec


def undone(name: str, spec: JobSpec) -> UserError:
    """What is written into parameter `name` between two steps would be lost without a word."""
    algorithm = spec.algorithm["name"]
    way = "spec.algorithm.mode: delta" if algorithm == "asgd" else "spec.algorithm: {name: asgd, mode: delta}"
    return UserError(
        f"the script has written into parameter {name} between two steps, which the next pull undoes, for algorithm"
        f" {algorithm} takes its weights from the servers; allowed: {way}, where such changes are pushed, or a"
        " torch.nn.utils.parametrize parametrization, or a change before the model's first use"
    )


def refuse_epochs(spec: JobSpec) -> None:
    """Raises UserError: epochs can be counted only over data that is dealt out."""
    for name, rhythm in (("evaluation", spec.evaluation), ("checkpoint", spec.checkpoint)):
        if rhythm.every_epochs is not None:
            raise UserError(
                f"spec.{name}.everyEpochs: {rhythm.every_epochs:g} needs batches that are dealt out by"
                " optimizer.until_stopped(loader); allowed without: everyUpdates, everySeconds"
            )
    if spec.stop_after.epochs is not None:
        raise UserError(
            f"spec.stopAfter.epochs: {spec.stop_after.epochs:g}, which is also what an absent stopAfter means, needs"
            " batches that are dealt out: optimizer.until_stopped(loader) with a map-style DataLoader and PyTorch's"
            " own samplers; allowed without: updates, samples, seconds, metric"
        )
    schedule = spec.optimizer.schedule
    if schedule.unit == "epochs" and (schedule.name != "constant" or schedule.warmup):
        raise UserError(
            "spec.optimizer.schedule.unit: epochs needs batches that are dealt out by"
            " optimizer.until_stopped(loader); allowed without: samples"
        )
