"""Shard 0's memory of what the job's data and model are like: the first member's, by which all others are judged.

It is kept over restarts. A job that is resumed by another start goes on with data that have changed meanwhile, which is
said once; within one start whoever differs is refused.
"""

from __future__ import annotations

from msgspec import Struct

from asgd.wire.agreement import difference, unpack

ADVICE = (
    "all processes of a job must build the same data and model: seed what is drawn, sort what is listed, read one"
    " version of the data"
)


class Agreement(Struct):
    """What the first member of the job has told; part of what a checkpoint keeps."""

    digest: bytes = b""
    """As in `Hello`; empty: nobody has told anything yet."""
    by: str = ""
    """Who told it, as `worker 0`."""
    earlier: bool = False
    """It was told in an earlier start of the job."""

    def refusal(self, who: str, digest: bytes) -> str:
        """Why `who`, which tells `digest`, can't take part; empty when it may."""
        if self.earlier or not (self.digest and digest):
            return ""
        found = difference(unpack(self.digest), unpack(digest))
        if not found:
            return ""
        name, how = found
        known = f"{self.by} reads" if name.startswith("sample ") else f"{self.by} has"
        if who == self.by:
            known = "it was when this worker joined first"
        return f"{who}: {name} differs from what {known}, {how}; {ADVICE}"

    def meet(self, who: str, digest: bytes) -> str:
        """`who` has joined. Returns what there is to say when the job's data are not those of an earlier start."""
        if not digest or (self.digest and not self.earlier):
            return ""
        found = difference(unpack(self.digest), unpack(digest)) if self.earlier else None
        self.digest, self.by, self.earlier = digest, who, False
        if not found:
            return ""
        return f"the job goes on with other data or another model than before: {found[0]} differs, {found[1]}"
