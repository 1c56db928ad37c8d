"""What one shard holds: weights, the optimizer's state, who is a member, and what it remembers of pushes.

Its full-sized arrays and the rest as JSON-able values are what a checkpoint has, and what a restart takes over.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from asgd.algorithms.base import Push, ServerStrategy, ShardState
from asgd.algorithms.followed import Settings, moved, slower
from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.schedule import rate_factor
from asgd.errors import ProtocolError, UserError
from asgd.kernel import F32
from asgd.record.recorder import Recorder
from asgd.server.average import Average
from asgd.server.losses import Losses
from asgd.server.outliers import Outliers
from asgd.spec.types import JobSpec
from asgd.wire import codec
from asgd.wire.delta import Shadows
from asgd.wire.messages import Exchange
from asgd.wire.partition import (
    CHUNK,
    Cuts,
    Range,
    block_edges,
    chunk_count,
    named_sizes,
    named_tensors,
    shard_range,
)


class Seen(Struct):
    """What a shard remembers of a worker's newest push."""

    incarnation: int
    sequence: int = 0
    chunks: int = 0
    verdict: str = "applied"
    push: Push | None = None
    """The accepted push while its chunks come in; saved too, so that a restart in the middle goes on alike."""


class Parameters:
    """Slice number `index` of `shards`. Weights exist once a worker told the model's size and brought them."""

    def __init__(self, spec: JobSpec, strategy: ServerStrategy, index: int, shards: int, term: int) -> None:
        self.spec, self.strategy = spec, strategy
        self.index, self.shards, self.term = index, shards, term
        self.recorder = Recorder()
        """Told of each change, before anything that follows from it leaves."""
        self.size: int | None = None
        self.layout = ""
        self.tensors = b""
        """As in `Hello`: names and shapes of the whole model, as soon as anybody has told."""
        self.ready = False
        self.state = ShardState(np.empty(0, np.float32), {}, np.empty(0, np.float32))
        self.members: dict[int, int] = {}
        """{worker: incarnation} that said hello and is not known to be gone."""
        self.seen: dict[int, Seen] = {}
        self.histogram: Counter[int] = Counter()
        self.staleness_of: dict[int, tuple[int, int]] = {}
        """{worker: its accepted pushes, and the sum of their staleness}, of this start."""
        self.refused: Counter[str] = Counter()
        self.outliers = Outliers(spec.outliers)
        self.rule = b""
        """The optimizer that the workers' scripts have handed over, as in `Hello`; empty: `spec.optimizer`."""
        self.rule_earlier = False
        """It is of an earlier start of the job, whose script may have had another one."""
        self.settings: defaultdict[int, Settings] = defaultdict(list)
        """As the newest push told them; of each model where there are several."""
        self.cuts = Cuts(Range(0, 0))
        self.unsaved = False
        """Nobody trains yet: the initial weights are still to be saved, for the job may have to go back to them."""
        self.spoils = 0
        """Accepted pushes that turned out to be bad in a later chunk."""
        self.average = Average(spec.evaluation.ema, strategy.rounds)
        self.losses = Losses()
        self.rollbacks = 0
        """How often the job had gone back to a checkpoint when this start began."""
        self.shadows: Shadows | None = None
        """What each worker holds, when pulls are sent as differences."""
        self.saved = 0
        """Payload bytes that codecs saved of what fp32 would have taken, both ways."""
        self.memory: Callable[[int], F32] = lambda size: np.zeros(size, np.float32)
        """Makes the memory of the weights, all zero."""
        self._described: ServerStrategy | None = None
        """It knows the model's tensors."""
        self._bringer: tuple[int, int] | None = None
        self._brought = 0

    def note_staleness(self, worker: int, staleness: int) -> None:
        """A push of `worker` was accepted."""
        self.histogram[staleness] += 1
        pushes, total = self.staleness_of.get(worker, (0, 0))
        self.staleness_of[worker] = pushes + 1, total + staleness

    def take_rule(self, rule: bytes, spec: JobSpec, strategy: ServerStrategy) -> None:
        """From now on this is a job of `spec`, for the first worker's script has handed an optimizer over.

        What a checkpoint has given stays; raises ProtocolError where it lacks what this optimizer needs.
        """
        if self.ready and tuple(strategy.edges) != tuple(self.strategy.edges):
            raise ProtocolError("the checkpoint is of other models")
        if self.ready and (lacks := set(strategy.slots) - self.state.slots.keys()):
            raise ProtocolError(f"the checkpoint has no {', '.join(sorted(lacks))}")
        self.rule, self.spec, self.strategy = rule, spec, strategy
        self.settings.clear()
        if self.size is not None and not self.ready:
            self.allocate(self.size, self.layout)

    def follow(self, message: Exchange) -> None:
        """What a push brings is applied with its own figures of the script's optimizer."""
        settings, part = message.settings, message.part
        if settings == self.settings[part] or message.bare:
            return
        self.settings[part] = settings
        told = slower(settings, rate_factor(self.spec, self.rollbacks))
        self.strategy.follow_in(part, moved(self.strategy.brought(part), told))

    def usual(self, part: int) -> Outliers:
        """What is usual of pushes about `part`: of each model by itself where there are several."""
        return self.outliers.of(part) if self.state.models else self.outliers

    def moved_by(self, push: Push) -> slice:
        """Elements that a push is about, where it is a step of one of several models; else all."""
        if not self.cuts.edges:
            return slice(None)
        own = self.cuts.part(push.part, push.parts)
        return slice(own.start, own.stop)

    def allocate(self, size: int, layout: str, tensors: bytes = b"") -> None:
        """Makes the arrays for a model of `size` parameters; `tensors` as in `Hello`, where they are told."""
        self.size, self.layout, self.tensors = size, layout, self.tensors or tensors
        cuts = shard_cuts(self.spec, named_tensors(self.tensors or b"[]"), self.shards, size)
        part = shard_range(size, self.index, self.shards, cuts)
        self.cuts = Cuts(part, self.strategy.edges)
        self.state.models = [0] * (len(self.strategy.edges) and self.strategy.parts)
        self.state.start, self.state.blocks = part.start, [0, size]
        self.state.weights = self.memory(part.size)
        self.state.slots = {name: np.zeros(part.size, np.float32) for name in self.strategy.slots}
        self.average.allocate(part.size)
        self.state.scratch = np.empty(min(CHUNK, max(1, part.size)), np.float32)
        self._decoded = np.empty_like(self.state.scratch)
        if self.spec.codec.pull in codec.LOSSY:
            self.shadows = Shadows(self.spec.codec, part.size, self.term)
        self.strategy.allocated(self.state)

    def describe(self, tensors: bytes) -> str:
        """Somebody tells the model's `tensors`, as in `Hello`, or nothing. Returns why it can't be the job's model."""
        if tensors:
            self.tensors = self.tensors or tensors
            self.state.blocks = block_edges(tensors, self.size or 0)
        if self._described is not self.strategy:
            self.strategy.describe(named_tensors(self.tensors or b"[]"))
            self._described = self.strategy
        if self.strategy.laid_out:
            return ""
        try:
            self.strategy.lay_out(named_sizes(self.tensors or b"[]"))
        except UserError as error:
            return str(error)
        return ""

    @property
    def chunks(self) -> int:
        return chunk_count(self.state.weights.size)

    def _pass_over(self, index: int, reason: str, dropped: bool = False) -> None:
        """A push was refused, or `dropped` by its worker: the open round goes on without this worker, and nobody waits
        for it to make up for one that is bad."""
        if self.strategy.rounds or (dropped and self.strategy.pulls_wait):
            self.state.clocks.pop(index, None)
        elif reason in ("nonfinite", "outlier"):
            self._advance(index)

    def _advance(self, index: int) -> None:
        clocks = self.state.clocks
        clocks[index] = clocks.get(index, min(clocks.values(), default=0)) + 1

    def _drop_unfinished(self, index: int) -> None:
        """A contribution to the open round that will never be complete."""
        part = self.state.inbox.get(index)
        if part and not part.complete:
            del self.state.inbox[index]

    def _forget(self, index: int) -> None:
        if self.shadows:
            self.shadows.forget(index)

    def _drop_unsettled(self, index: int) -> None:
        """Whoever joins anew begins anew, unless the round is closing with what it sent before."""
        part = self.state.inbox.get(index)
        if part and not part.settled:
            del self.state.inbox[index]

    def arrays(self) -> dict[str, F32]:
        """Everything of full size that a checkpoint holds."""
        return {"weights": self.state.weights, **self.state.slots, **self.average.arrays}

    def meta(self) -> dict[str, Any]:
        """The rest of what a checkpoint holds, as JSON-able values."""
        return {
            "version": self.state.version,
            "samples": self.state.samples,
            "seen": {str(k): msgspec.to_builtins(v) for k, v in self.seen.items()},
            "histogram": {str(k): v for k, v in self.histogram.items()},
            "refused": dict(self.refused),
            "outliers": self.outliers.state(),
            "losses": self.losses.state(),
            "rollbacks": self.rollbacks,
            "averaged": self.average.updates,
            "rule": self.rule.decode(),
            # NB: it is written while the strategy goes on.
            "facts": deepcopy(self.state.facts),
            **({"models": list(self.state.models)} if self.state.models else {}),
            **({"tensors": self.tensors.decode()} if self.strategy.whole else {}),
        }

    def start_over(self) -> None:
        """A restart without any checkpoint: a worker will bring its copy, everything acknowledged counts as lost."""
        self.losses.began(self.term, 0, 0)

    def restore(self, size: int, layout: str, arrays: dict[str, F32], meta: dict[str, Any]) -> None:
        """Takes over a checkpoint; `meta` without `seen` (another shard count) forgets old pushes."""
        if self.strategy.edges and len(meta.get("models", [])) != self.strategy.parts:
            raise ProtocolError("the checkpoint does not tell the updates of each model")
        self.allocate(size, layout, str(meta.get("tensors", "")).encode())
        self.average.restore(arrays, meta.get("averaged"))
        for name, array in {"weights": self.state.weights, **self.state.slots}.items():
            if name not in arrays:
                raise ProtocolError(
                    f"the checkpoint has no {name}: it was made with another algorithm or optimizer"
                )
            array[:] = arrays[name]
        grown = self.strategy.grows
        self.state.slots |= {
            name: array for name, array in arrays.items() if grown and name.startswith(grown)
        }
        self.state.version, self.state.samples = meta["version"], meta["samples"]
        if self.strategy.edges:
            self.state.models = list(meta["models"])
        self.seen = {int(k): msgspec.convert(v, Seen) for k, v in meta.get("seen", {}).items()}
        self.histogram = Counter({int(k): v for k, v in meta.get("histogram", {}).items()})
        self.refused = Counter(meta.get("refused", {}))
        if "outliers" in meta:
            self.outliers.load(meta["outliers"])
        if "losses" in meta:
            self.losses.load(meta["losses"])
        self.state.facts = deepcopy(meta.get("facts", {}))
        self.losses.began(self.term, self.state.version, self.state.samples)
        self.ready = True
