"""Types of the wire's fields, each with its bounds: what exceeds them is refused before anything is believed."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from asgd.wire import limits

Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""What is only compared or looked up: a negative one would reach array slices."""
Index = Annotated[int, Meta(ge=0, lt=limits.WORKERS_MOST)]
"""Number of a worker or shard."""
Term = Annotated[int, Meta(ge=0, le=limits.TERM_MOST)]
Incarnation = Annotated[int, Meta(ge=0, le=limits.INCARNATION_MOST)]
Version = Annotated[int, Meta(ge=0, le=limits.VERSION_MOST)]
"""Versions, sequence and request numbers, places in a dataset: what grows by one at a time."""
Count = Annotated[int, Meta(ge=0, le=limits.COUNT_MOST)]
"""Samples or steps of one push."""
Total = Annotated[int, Meta(ge=0, le=limits.TOTAL_MOST)]
"""Samples of a whole job."""
Size = Annotated[int, Meta(ge=0, le=limits.SIZE_MOST)]
"""Parameters."""
Dataset = Annotated[int, Meta(ge=1, le=limits.VERSION_MOST)]
"""Samples in one epoch."""
Parts = Annotated[int, Meta(ge=1, le=limits.VERSION_MOST)]
"""A count of at least one. `parts`: into how many equal parts each shard is cut for an exchange that is about one of
them; 1: about all."""
Name = Annotated[str, Meta(max_length=limits.NAME_MOST)]
Secret = Annotated[bytes, Meta(max_length=64)]
"""A token or random number."""
Role = Literal["worker", "evaluator", "shard"]
Span = tuple[Annotated[int, Meta(ge=0, le=limits.EPOCH_MOST)], Version, Version]
"""(epoch, start, stop): positions [start, stop) of that epoch's order."""
Figures = Annotated[dict[Name, float], Meta(max_length=limits.FIGURES_MOST)]
"""Numbers by name."""
Holding = Annotated[list[tuple[Index, Version]], Meta(max_length=limits.WORKERS_MOST)]
"""(worker, sequence) of pushes."""
