"""The model of a finished run as torch has it: built by the task's own code, with the weights of model.safetensors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.record import run as recording
from asgd.spec import load_job
from asgd.spec.evaluators import is_script
from asgd.worker.device.flat import plain
from asgd.worker.device.randomness import random_state, set_random_state
from asgd.worker.task.build import build_task
from asgd.worker.task.entrypoint import code_in
from asgd.worker.task.sent import FILE


def state_of(folder: Path) -> Mapping[str, Tensor]:
    """{name: tensor} of the run in `folder`. Raises UserError where it left no model."""
    path = folder / "model.safetensors"
    if not path.exists():
        raise UserError(f"{folder} holds no model: the run ended before it had saved one")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def build(folder: Path, code: Path | None) -> nn.Module:
    """The trained model of the run in `folder`, in evaluation mode; `code`: where its job's file lay, if that is known.

    Raises UserError.
    """
    spec = load_job(folder / "job.yaml").spec
    if is_script(spec.entrypoint):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} is a script, which makes its model itself; make the model and give it"
            " the run's state_dict()"
        )
    state = state_of(folder)
    with _as_in_a_worker(_code_of(folder, code)):
        model = build_task(spec).model
    names = {plain(name): name for name in model.state_dict()}
    try:
        model.load_state_dict({names.get(name, name): tensor for name, tensor in state.items()}, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{folder / 'model.safetensors'} does not fit the model that {spec.entrypoint} makes:"
            f" {' '.join(str(error).split())}"
        ) from error
    return model.eval()


def _code_of(folder: Path, code: Path | None) -> Path:
    """Where the run looked for its code. NB: a simulation records nothing."""
    if (folder / FILE).exists():
        return folder
    try:
        return folder / recording.read(folder / "replay").job_folder
    except UserError:
        return code or folder


@contextmanager
def _as_in_a_worker(code: Path) -> Iterator[None]:
    """The task's code finds its files, and this process's random numbers and search path are as before afterwards."""
    before, path = random_state(), [*sys.path]
    try:
        with code_in(code):
            yield
    finally:
        set_random_state(before)
        sys.path[:] = path
