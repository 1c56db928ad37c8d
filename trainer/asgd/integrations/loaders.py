"""What a `DataLoader` is as a task's data: its dataset is dealt out to all workers; a sampler of its own makes it a
stream of each worker."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from asgd.errors import UserError


@dataclass(frozen=True, slots=True)
class Dealt:
    """`Task.data`, `Task.collate` and `Task.data_workers`. `batch`: samples of a batch; `size`: of an epoch; both None
    for streams."""

    data: Any
    collate: Callable[[list[Any]], Any] | None = None
    data_workers: int = 0
    batch: int | None = None
    size: int | None = None


def dealt(loader: Any, place: str) -> Dealt:
    """What of `loader` a task has. Raises UserError for what would be lost; warns of what counts for little."""
    if not isinstance(loader, DataLoader):
        raise UserError(f"{place} is {type(loader).__name__}; allowed: one torch.utils.data.DataLoader")
    sampler = loader.sampler
    for part in (sampler, loader.batch_sampler, loader):
        if part is not None and hasattr(part, "state_dict"):
            raise UserError(
                f"{place}: {type(part).__name__} has a state that is saved and loaded, which a job that deals samples"
                " out does not keep; allowed: a DataLoader with shuffle=True, or a sampler without one"
            )
    if hasattr(sampler, "num_replicas"):
        raise UserError(
            f"{place}: {type(sampler).__name__} shares samples out, which the job does itself; allowed: shuffle=True"
        )
    plain = type(loader.batch_sampler).__name__ == "BatchSampler" and loader.batch_size is not None
    drawn = isinstance(sampler, RandomSampler) and (sampler.replacement or sampler._num_samples is not None)
    map_style = not isinstance(loader.dataset, IterableDataset)
    if not (plain and map_style and isinstance(sampler, RandomSampler | SequentialSampler)) or drawn:
        return Dealt(loader)
    if loader.worker_init_fn is not None:
        raise UserError(
            f"{place}: worker_init_fn is not called where the job deals the samples out; allowed: a DataLoader"
            " without it"
        )
    if isinstance(sampler, SequentialSampler):
        warnings.warn(f"{place} reads in order (shuffle=False); the job shuffles each epoch", stacklevel=3)
    if loader.drop_last:
        warnings.warn(f"{place}: drop_last=True; the job trains on the short batch as well", stacklevel=3)
    size = len(loader.dataset)  # type: ignore[arg-type]  # map-style
    return Dealt(loader.dataset, loader.collate_fn, loader.num_workers, loader.batch_size, size)
