"""model-best.safetensors: the best evaluated model of a run, as the evaluator has put it into the checkpoint store."""

from __future__ import annotations

import os

from asgd.drivers.model_file import check_model
from asgd.drivers.output import Output
from asgd.errors import Damaged, TryAgain, UserError
from asgd.host.files import sync_folder
from asgd.server.saves import best
from asgd.server.saves.store import Store

NAME = "model-best.safetensors"


def export_best(output: Output, checkpoint_uri: str) -> str:
    """Copies the store's best model beside model.safetensors, whole or not at all. Why that was not done, or ''."""
    target = output.file(NAME)
    partial = target.with_name(f"{NAME}.partial")
    try:
        store = Store(best.place(checkpoint_uri), make=False)
        record = best.read(store)
        if record is None:
            return f"{checkpoint_uri} holds no best model any more"
        store.fs.get_file(best.path_of(store, record), str(partial))
        check_model(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        sync_folder(target.parent)
    except (OSError, Damaged, UserError, TryAgain) as error:
        partial.unlink(missing_ok=True)
        return str(error)
    return ""
