"""A script's batch norm that meets a batch of one sample: refused at once, as no restart mends it.

NB: only the script's own loader makes such a batch (its last one, without `drop_last`): leases leave none.
"""

from __future__ import annotations

import traceback

from asgd.errors import UserError
from asgd.worker.users_code import sentence

TORCHS = "Expected more than 1 value per channel"


def refuse_lone_sample(error: BaseException, entrypoint: str, size: int | None) -> None:
    """Raises UserError when that is what `error` says; `size`: samples that the loader has, if anybody knows."""
    if TORCHS not in str(error):
        return
    traceback.print_exception(error)
    of = f" of {size} samples" if size else ""
    raise UserError(
        f"spec.entrypoint: {entrypoint}: batch norm has met a batch of 1 sample, as in plain PyTorch, which no restart"
        f" mends: {sentence(error)}; allowed: drop_last=True in the DataLoader{of}, or a batch_size that leaves none"
        " alone"
    ) from error
