"""Shard 0's memory of what the job's data, model and loss are like: the first member's, by which all others are judged.

It is kept over restarts. A job that is resumed by another start goes on with data that have changed meanwhile, which is
said once; within one start whoever differs is refused.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from asgd.wire.agreement import Part, difference, is_loss, is_sample, unpack
from asgd.wire.first_loss import unlike_loss

ADVICE = (
    "all processes of a job must build the same data and model: seed what is drawn, sort what is listed, read one"
    " version of the data"
)
OF_LOSS = (
    "all processes of a job must build the same loss: seed what is drawn, sort what is listed or in a set"
)
LOSSES_MOST = 16
"""Losses of different devices and numbers of samples that a job remembers."""
OF_ITS_OWN = ", or pass deal=False to until_stopped where each worker has data of its own"


class Told(Struct):
    """What the first member that knew it has told."""

    parts: bytes = b""
    """As `pack` makes them; empty: nobody has told anything yet."""
    by: str = ""
    """Who told it, as `worker 0`."""
    earlier: bool = False
    """It was told in an earlier start of the job."""

    def unlike(self, parts: tuple[Part, ...]) -> tuple[str, str] | None:
        """How `parts` differ from it, if they do; who has told nothing is compared with nobody."""
        if not self.parts:
            return None
        known = unpack(self.parts)
        if parts and is_loss(parts[0]):
            how = unlike_loss(known[0], parts[0])
            return (parts[0].name, how) if how else None
        return difference(known, parts)


class Agreement(Struct):
    """What the first members of the job have told; part of what a checkpoint keeps.

    NB: the data apart from the model, for a loop of its own begins to read when it has joined already.
    """

    data: Told = msgspec.field(default_factory=Told)
    model: Told = msgspec.field(default_factory=Told)
    losses: dict[str, Told] = msgspec.field(default_factory=dict)
    """By the part's name: each kind of device is compared with its like."""

    def refusal(self, who: str, digest: bytes, *, own_loop: bool = False) -> str:
        """Why `who`, which tells `digest`, can't take part; empty when it may."""
        for known, parts in self._pairs(digest):
            found = None if known.earlier else known.unlike(parts)
            if not found:
                continue
            name, how = found
            data = known is self.data
            loss = known is not self.model and not data
            has = f"{known.by} {'reads' if data else 'computes' if loss else 'has'}"
            if who == known.by:
                has = "it was when this worker joined first"
            advice = (OF_LOSS if loss else ADVICE) + (OF_ITS_OWN if own_loop and data else "")
            return f"{who}: {name} differs from what {has}, {how}; {advice}"
        return ""

    def meet(self, who: str, digest: bytes) -> str:
        """`who` has joined. Returns what there is to say when the job's data are not those of an earlier start."""
        said = ""
        for known, parts in self._pairs(digest):
            if known.parts and not known.earlier:
                continue
            found = known.unlike(parts)
            known.parts, known.by, known.earlier = msgspec.msgpack.encode(parts), who, False
            if found and not said:
                what = "other data, another model or another loss than before"
                said = f"the job goes on with {what}: {found[0]} differs, {found[1]}"
        return said

    def of_earlier_start(self) -> None:
        """Another start of the job goes on from here: what differs is said, and refused no more."""
        for known in (self.data, self.model, *self.losses.values()):
            known.earlier |= bool(known.parts)

    def _pairs(self, digest: bytes) -> list[tuple[Told, tuple[Part, ...]]]:
        """What is known beside what is told now. Who tells anything has told all of its model, maybe nothing."""
        if not digest:
            return []
        parts = unpack(digest)
        data = tuple(part for part in parts if is_sample(part))
        model = (self.model, tuple(part for part in parts if not (is_sample(part) or is_loss(part))))
        losses = [(self._loss(part.name), (part,)) for part in parts if is_loss(part)]
        return [(self.data, data), model, *losses] if data else [model, *losses]

    def _loss(self, name: str) -> Told:
        """What is known under `name`; of the last of many names nothing is kept."""
        if name in self.losses or len(self.losses) < LOSSES_MOST:
            return self.losses.setdefault(name, Told())
        return Told()
