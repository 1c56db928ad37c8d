"""Schedulers of a script follow the job's samples: with N workers a loop makes an Nth of the steps.

A script steps its schedulers by itself, once a step or once an epoch, and has built them for all steps of the
training. A pass over dealt data is an epoch of the job already, so what is stepped between passes is right as it is; a
worker that comes late catches up. What is stepped beside each step is stepped as often more as the other workers have
made steps meanwhile. With one worker nothing is added.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

MARK = "_asgd_pace"
"""Attribute of an optimizer whose schedulers are paced."""


@dataclass(slots=True)
class _Seen:
    """What a scheduler has been stepped for."""

    own: int
    others: int
    calls: int = 0
    """Since this worker's newest step."""
    carry: float = 0.0
    epochs: int = 0


class Pace:
    """How far the job is, as this worker's loop sees it."""

    def __init__(self) -> None:
        self.own = self.others = 0
        """Samples that this worker has made steps of, and that the others have."""
        self.passing = self.passed = False
        """A pass over data is under way; there was one."""
        self.epoch: int | None = None
        """Of the job: that of the newest pass, from 0; None where data is not dealt out."""
        self.stepping = False
        self._seen: weakref.WeakKeyDictionary[LRScheduler, _Seen] = weakref.WeakKeyDictionary()

    def stepped(self, samples: int, job: int) -> None:
        """This worker has made a step of `samples`; the job is at `job` samples, as far as it knows."""
        self.own += samples
        self.others = max(self.others, job - self.own)

    def ended(self, epoch: int | None = None) -> None:
        """A pass is over, if one was under way: one of data, and of `epoch` where that is known."""
        self.passed, self.passing = self.passed or self.passing, False
        self.epoch = epoch if epoch is not None else self.epoch

    def steps(self, scheduler: LRScheduler) -> int:
        """How often `scheduler` is to be stepped now that the script steps it once."""
        seen = self._seen.get(scheduler)
        if seen is None:
            # NB: one that was loaded is where it belongs.
            loaded = scheduler.last_epoch > 0
            seen = _Seen(0, self.others, epochs=self.epoch or 0) if loaded else _Seen(0, 0)
            self._seen[scheduler] = seen
        due = self._by_epoch(seen) if self.passed and not self.passing else self._by_step(seen)
        return _within(scheduler, due) if due > 1 or self.others else 1

    def _by_epoch(self, seen: _Seen) -> int:
        due = max(1, (self.epoch or 0) + 1 - seen.epochs)
        seen.epochs += due
        return due

    def _by_step(self, seen: _Seen) -> int:
        seen.calls += 1
        if self.own == seen.own:
            return 1
        more = seen.carry + seen.calls * (self.others - seen.others) / (self.own - seen.own)
        seen.own, seen.others, seen.calls, seen.carry = self.own, self.others, 0, more % 1
        return 1 + int(more)


def _within(scheduler: LRScheduler, due: int) -> int:
    """One whose end is fixed (OneCycleLR) raises beyond it, and other workers' steps are no mistake of the script."""
    total = getattr(scheduler, "total_steps", None)
    return due if total is None else max(0, min(due, total - scheduler.last_epoch))


def follow(*optimizers: Any) -> Pace:
    """Schedulers of `optimizers`, those to come included, follow what is told to the answer."""
    pace = Pace()
    for optimizer in optimizers:
        setattr(optimizer, MARK, pace)
    watch()
    return pace


def watch() -> None:
    """Classes of schedulers ask for the pace of their optimizer from now on; again for classes that came since."""
    for kind in _kinds(LRScheduler):
        step = vars(kind).get("step")
        if step is not None and not hasattr(step, MARK):
            kind.step = _paced(step)  # type: ignore[method-assign]


def _kinds(kind: type[LRScheduler]) -> Iterator[type[LRScheduler]]:
    yield kind
    for own in kind.__subclasses__():
        yield from _kinds(own)


def _paced(step: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(step)
    def paced(self: Any, *args: Any, **kwargs: Any) -> None:
        pace: Pace | None = getattr(getattr(self, "optimizer", None), MARK, None)
        # NB: the first one is made while it is built; a metric or an epoch that is named means itself.
        begins = getattr(self, "_is_initial", False) or getattr(self, "_step_count", 1) == 0
        if pace is None or pace.stepping or begins or args or kwargs:
            return step(self, *args, **kwargs)
        pace.stepping = True
        try:
            for _ in range(pace.steps(self)):
                step(self)
        finally:
            pace.stepping = False

    setattr(paced, MARK, True)
    return paced
