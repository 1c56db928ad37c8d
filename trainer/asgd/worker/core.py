"""Everything a worker decides, without I/O: one life for pods, laptops, `asgd.connect()`, virtual time and replays.

`join`, `train` and `leave` (and for loops of their own `step` and `flush`) are generators: they yield what they wish
for (`wishes.py`) and are resumed with what came. After each backward pass the strategy says what to send. With
`exchange.ahead: 1` an exchange is under way while the next gradient is computed, on weights that are one version
older; the order of what touches the weights is fixed: take the gradient, merge what came, step, take out what goes.
A push names the versions of the shards that its gradient was computed from, never those that were merged since.
A batch whose loss or gradient is not finite is dropped here, once for all strategies: none of them ever sees it.
So is all that a worker holds when the job has gone back to a checkpoint (`server/rollback.py`): it begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from asgd import kernel
from asgd.algorithms.attacks import Attack
from asgd.algorithms.base import NOTHING, Turn, WorkerStrategy
from asgd.algorithms.schedule import learning_rate, of_rule
from asgd.errors import TryAgain
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.wire.partition import part_slices
from asgd.worker.of_model import Own, Settings, each_of, overlaps
from asgd.worker.reading.leased import LeasedBatch, Visits, Waiting
from asgd.worker.sending.headers import Outcome, Pending, PushHeader
from asgd.worker.wishes import (
    AWAIT,
    JOIN,
    NEXT,
    Compute,
    Computed,
    Exchange,
    Following,
    Leave,
    Life,
    Observer,
    Sleep,
    Vectors,
)

WAIT_SECONDS = 0.1
"""Pause before a worker without data asks again."""
ANEW = 3
"""So many batches in a row that are not finite: it is the worker's own weights that are wrong."""


class WorkerCore:
    """A worker of the job `spec` on `shards` shards, with the strategy's worker half `rule`.

    `leaving`: whether it was told to leave; `holds`: whether what a batch visits is still this worker's. Raises
    UserError where the schedule needs an epoch's size, `dataset`, and there is none.
    """

    def __init__(
        self, spec: JobSpec, rule: WorkerStrategy, vectors: Vectors, shards: int, *, dataset: int | None = None,
        attack: Attack | None = None, observer: Observer | None = None, leaving: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.spec, self.rule, self.vectors, self.attack = of_rule(spec, rule), rule, vectors, attack
        rule.dataset = dataset
        self.holds: Callable[[Visits], bool] = lambda visits: True
        self.overlapped = overlaps(spec, rule)
        self.sequence = self.steps = 0  # the newest push's number, and steps made
        self.samples = 0  # of the whole job, as far as this worker knows
        self.stop = ""  # why the job is over
        self.rollbacks = 0
        """How often the job had gone back to a checkpoint when the weights of this moment were pulled."""
        self._undone = False  # it has gone back since
        self.following: Following | None = None
        self._each = each_of(spec, rule)
        self._shards, self._dataset, self._leaving = shards, dataset, leaving
        self._observer = observer or Observer()
        self._flying = self._each[0]  # the model that the exchange under way is about
        self._under_way = self._pulling = False
        self.leaves_early = True  # no gradient has turned out not to be finite after a part of it had left
        self._ruined = False
        """What was pushed last is not finite though its gradients were: so are the weights or what belongs to them."""
        self._land_at = 0  # the step after which the exchange under way is waited for, if that may take some

    def declare(self, dataset: int) -> None:
        """A loop of its own has told that an epoch has `dataset` samples."""
        self._dataset = self.rule.dataset = dataset

    @property
    def rate(self) -> float:
        """The job's learning rate now. Raises UserError where its schedule needs an epoch's size and there is none."""
        return learning_rate(self._own.optimizer, self.samples, self._dataset)

    @property
    def _own(self) -> Own:
        """Of the model that this step is of."""
        return self._each[self.rule.part if self.rule.edges else 0]

    def settle(self, settings: Settings) -> None:
        """Figures of the script's own optimizer of this model that have moved, for what it pushes from here on."""
        self._own.settings = settings

    # -- a life ------------------------------------------------------------------------------------

    def life(self, drained: Callable[[], bool] = lambda: False) -> Life[None]:
        """All of it: joins, trains unless the job is over, and leaves; `drained`: because it was told to."""
        reason = yield from self.join()
        if not reason:
            reason = yield from self.train()
        yield from self.leave("drained" if drained() else reason)

    def join(self) -> Life[str]:
        """Joins all shards and takes their weights; returns why the job is over, if it is."""
        self.stop = yield JOIN
        return self.stop or (yield from self.refresh())

    def refresh(self) -> Life[str]:
        """Takes the servers' weights as they are now."""
        apart = True
        while apart and not self.stop:
            yield Exchange(None, True, PushHeader())
            outcome: Outcome = yield AWAIT
            self._take(outcome)
            # NB: the job goes back shard by shard, which takes a moment.
            apart = len(set(outcome.rollbacks)) > 1
            if apart and not self.stop:
                yield Sleep(WAIT_SECONDS)
        if not self.stop:
            self.vectors.weights[:] = self.vectors.landed()
            self.rule.joined(self.vectors.weights)
            self._undone = False
            self.rollbacks = max(outcome.rollbacks, default=0)
            for own, fresh in zip(self._each, each_of(self.spec, self.rule, self.rollbacks), strict=True):
                own.pulled(outcome)
                own.optimizer = fresh.optimizer
            self._stepped(0)
        return self.stop

    def _go_back(self) -> Life[None]:
        """The job has gone back: what this worker holds belongs to what is undone."""
        visits = [visit for own in self._each for visit in own.take().visits]
        yield from self._give_back(visits, self.rollbacks)
        if not self.stop:
            yield from self.refresh()

    def _give_back(self, visits: Visits, rollbacks: int) -> Life[None]:
        """Work on `visits` comes to nothing, since it is of before a rollback.

        NB: they may have been granted after it, and nobody else would do them.
        """
        if visits and not self.stop:
            self.sequence += 1
            yield Exchange(None, False, self._nothing(sum(b - a for _, a, b in visits), 0, visits, rollbacks))
            self._take((yield AWAIT))

    def _nothing(self, samples: int, steps: int, visits: Visits, rollbacks: int) -> PushHeader:
        """Of a push without a vector, which tells that work on `visits` has come to nothing."""
        return PushHeader(
            sequence=self.sequence, samples=samples, steps=steps, finite=False, bare=True, visits=visits,
            part=self.rule.part, parts=self.rule.parts, rollbacks=rollbacks,
        )  # fmt: skip

    def train(self) -> Life[str]:
        """Batch after batch until the job stops, the worker is told to leave, or there is no more data.

        The push under way is finished. Returns why the job stopped, if it has.
        """
        item: LeasedBatch | Waiting | None = yield NEXT
        if item is not None:
            # NB: what was pulled when this worker joined is old by the time it has read its first batch.
            yield from self.refresh()
        while item is not None and not self.stop and not self._leaving():
            if isinstance(item, Waiting):
                yield from self.wait()
            elif self.holds(item.visits):
                computed: Computed = yield Compute(item)
                yield from self.step(item.samples, computed.loss, item.visits, left=computed.left)
            item = yield NEXT
        yield from self.flush()
        return self.stop

    def wait(self) -> Life[None]:
        """No data now. What is computed and not pushed would never count as visited, so it goes out first."""
        if self._under_way or any(own.pending.steps for own in self._each):
            yield from self.flush()
        else:
            yield Sleep(WAIT_SECONDS)

    def leave(self, reason: str) -> Life[None]:
        """Finishes what is on its way and says goodbye; `drained`: others go on with the job; `failed`: nothing is
        finished."""
        if reason != "failed":
            yield from self._land()
        if reason not in ("drained", "failed"):
            yield from self._part()
        yield Leave(reason)

    def _part(self) -> Life[None]:
        """The job is over: leaves what the strategy wants of these weights, if the servers still answer."""
        vector = self.rule.parting(self.vectors.weights)
        if vector is None:
            return
        host = self.vectors.leaving(vector)
        self._own.take()  # steps that were not pushed before the end do not count
        yield Exchange(host, False, self._meta(host))
        try:
            yield AWAIT
        except TryAgain:
            return

    # -- one step ----------------------------------------------------------------------------------

    def early(self, item: LeasedBatch) -> PushHeader:
        """What goes with the gradient of `item` where it leaves while it is computed (`WorkerStrategy.raw`).

        The loss is filled in by who sends it. `step` is told that it has left.
        """
        self.sequence += 1
        return PushHeader(
            sequence=self.sequence, samples=item.samples, steps=1, visits=item.visits, bases=self._own.versions,
            by_chunk=True, rollbacks=self.rollbacks, settings=self._own.settings, scalars=self._observer.scalars(),
        )  # fmt: skip

    def step(self, samples: int, loss: float | None, visits: Visits = (), *, left: bool = False) -> Life[str]:
        """After a backward pass over `samples` samples; returns why the job stops, or ''."""
        if left and (yield from self._left_early(samples, loss)):
            return self._stepped(samples)
        gradient, own = self.vectors.gather(), self._own
        # NB: the loss of one model leaves gradients in others, which say nothing and go nowhere.
        moving = gradient[self.rule.span] if self.rule.edges else gradient
        if not (math.isfinite(loss or 0.0) and self.vectors.finite(moving)):
            yield from self._drop(samples, visits)
            return self.stop
        own.dropped = 0
        if self.spec.optimizer.clip_norm is not None:
            self._clip(moving, self.spec.optimizer.clip_norm)
        own.computed_from, rollbacks = own.versions, self.rollbacks
        if not self.rule.delay:
            yield from self._land()
        if self.rollbacks != rollbacks:
            yield from self._give_back(visits, rollbacks)
            return self.stop
        self.steps += 1
        self.rule.step(self.vectors.weights, gradient, self.rate)
        own.note(samples, loss, visits)
        self._observer.step(samples, loss)
        if self.steps >= self._land_at:
            yield from self._land()
        if self.rollbacks != rollbacks:
            return self._stepped(samples)
        turn = self.rule.turn(self.steps)
        if turn.push or turn.pull:
            yield self._begin(turn)
            if not self.overlapped:
                yield from self._land()
        return self.stop if self.following is None else self._stepped(samples)

    def _stepped(self, samples: int) -> str:
        if self.following is not None:
            self.settle(self.following(samples, self.samples, self.rollbacks))
        return self.stop

    def _left_early(self, samples: int, loss: float | None) -> Life[bool]:
        """Waits for a gradient that has left already; False if it had not after all."""
        outcome: Outcome | None = yield AWAIT
        if outcome is None:
            return False
        self.steps += 1
        self._observer.step(samples, loss)
        # NB: what left before the first bad chunk is applied. It happens once.
        self.leaves_early = "refused:nonfinite" not in outcome.verdicts
        self._pulling = True
        turn = self._merge(outcome)
        if self._undone and not self.stop:
            yield from self._go_back()
        if turn.push or turn.pull:
            yield self._begin(turn)
            yield from self._land()
        return True

    def _drop(self, samples: int, visits: Visits) -> Life[None]:
        """The batch is not finite: it changes nothing here, and the servers hear of it by a push without a vector.

        One alone is told as no step (`steps` 0), so a round waits for this worker's next batch; after more in a row
        it does not. After `ANEW` in a row what is pending is given back, and the worker begins anew from the centre.
        """
        rollbacks = self.rollbacks
        yield from self._land()
        if self.rollbacks != rollbacks:
            yield from self._give_back(visits, rollbacks)
            return
        if self.stop:
            return
        own, rule = self._own, self.rule
        own.dropped += 1
        self._observer.dropped()
        anew = own.dropped >= ANEW and not rule.raw
        lost = own.take() if anew else Pending()
        self.sequence += 1
        steps, told = lost.steps + (own.dropped > 1), [*lost.visits, *visits]
        meta = self._nothing(samples + lost.samples, steps, told, self.rollbacks)
        # NB: where each batch brings the centre, this one does so too; local steps go on from where they are.
        yield Exchange(None, rule.raw, meta)
        outcome: Outcome = yield AWAIT
        self._pulling = rule.raw
        if rule.raw:
            self._merge(outcome)
        else:
            notes = rule.notes
            self._take(outcome)
            # NB: what the servers' half says belongs to weights that came with it.
            rule.notes = notes
        if self._undone and not self.stop:
            yield from self._go_back()
        elif anew and not self.stop:
            yield from self.refresh()

    def flush(self, changed: bool = False) -> Life[str]:
        """Pushes local steps that are not pushed yet, and waits for an exchange under way.

        `changed`: there is more to push than steps, for others have written into the weights.
        """
        yield from self._land()
        for own in self._each:
            own.select(self.rule)
            if (own.pending.steps or changed) and not self.stop:
                yield self._begin(Turn(push=True, pull=True))
                yield from self._land()
        return self.stop

    def _clip(self, gradient: F32, limit: float) -> None:
        norm = self.vectors.norm(gradient)
        self._observer.gradient_norm = norm
        if norm > limit:
            gradient *= limit / norm

    # -- exchange ----------------------------------------------------------------------------------

    def _begin(self, turn: Turn) -> Exchange:
        vector, meta = None, PushHeader()
        if turn.push:
            gradient = self.vectors.gradient
            outgoing = self.rule.outgoing(self.vectors.weights, gradient)
            if outgoing is not None:
                vector = self.vectors.leaving(outgoing)
                if self.attack:
                    vector = self.attack.spoil(vector)
            meta = self._meta(vector, looked=outgoing is gradient and self.attack is None)
            self._ruined = not meta.finite and self.attack is None
        meta.part, meta.parts = self.rule.part, self.rule.parts
        self._land_at = self.steps + self.rule.delay
        self._pulling, self._under_way, self._flying = turn.pull, True, self._own
        return Exchange(vector, turn.pull, meta)

    def _meta(self, vector: F32 | None, *, looked: bool = False) -> PushHeader:
        """`looked`: the vector is known to be finite."""
        own, pending = self._own, self._own.take()
        self.sequence += 1
        finite = looked or vector is None or kernel.finite(vector)
        return PushHeader(
            sequence=self.sequence, samples=pending.samples, steps=pending.steps, finite=finite, loss=pending.loss,
            visits=pending.visits, meta=self.rule.meta(), bare=vector is None, bases=own.bases(self.rule),
            rollbacks=self.rollbacks, settings=own.settings, scalars=self._observer.scalars(),
        )  # fmt: skip

    def _land(self) -> Life[None]:
        """Waits for the exchange under way, and those that follow it, and merges them."""
        stepping = self._own
        while self._under_way:
            outcome: Outcome = yield AWAIT
            self._under_way = False
            self._flying.select(self.rule)
            turn = self._merge(outcome)
            if self._undone and not self.stop:
                yield from self._go_back()
            elif self._ruined and not self.stop:
                yield from self.refresh()
            self._ruined = False
            if turn.push or turn.pull:
                yield self._begin(turn)
        stepping.select(self.rule)

    def _merge(self, outcome: Outcome) -> Turn:
        """Takes in what an exchange brought; what follows it at once."""
        self._take(outcome)
        # NB: a script goes on to evaluate and save; where servers step, its last step comes with the stop.
        if self._undone or (self.stop and (not self.rule.raw or self.stop == "diverged")):
            return NOTHING
        if self._pulling:
            if not outcome.empty and not self._ruined:
                rule = self.rule
                rule.spans = (
                    [] if rule.edges else part_slices(self.vectors.size, self._shards, rule.part, rule.parts)
                )
                rule.incoming(self.vectors.weights, self.vectors.landed())
            self._own.pulled(outcome)
        return NOTHING if self.stop else self.rule.follow()

    def _take(self, outcome: Outcome) -> None:
        self.samples = outcome.samples
        self.rule.workers, self.rule.notes = outcome.workers, outcome.notes
        self.stop = outcome.stop or self.stop
        self._undone |= any(number != self.rollbacks for number in outcome.rollbacks)
        self._observer.exchanged(outcome)
