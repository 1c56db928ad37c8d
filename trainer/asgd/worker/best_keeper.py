"""Keeps the weights of the best evaluation (`checkpoint.best`): the evaluator, which has them in hand, writes them.

The record in the store is what counts: an evaluator that is started again goes on from it, as does a job that resumes.
A store that refuses costs a best model, which is told, and never an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

from asgd.errors import Damaged, TryAgain, UserError
from asgd.host.env import ProcessConfig
from asgd.host.say import say
from asgd.server.improving import improves
from asgd.server.saves import best
from asgd.server.saves.best import BestRecord
from asgd.server.saves.restore import open_store
from asgd.server.saves.store import Store
from asgd.wire.limits import TEXT_MOST
from asgd.wire.reports import BestReport
from asgd.worker.device.extras import WholeModel


class BestKeeper:
    """Of one evaluator. `trouble`: why the newest better weights are not in the store."""

    def __init__(self, config: ProcessConfig) -> None:
        rule = config.job.spec.checkpoint.best
        assert rule is not None
        self.rule = rule
        self.trouble = ""
        self._config = config
        self._store: Store | None = None
        self._term = 0
        self._record: BestRecord | None = None

    def offer(
        self, metrics: dict[str, float], updates: int, samples: int, model: Callable[[], WholeModel]
    ) -> None:
        """Keeps the model if it is the best so far.

        Raises Fenced when another evaluator has started since.
        """
        value = metrics.get(self.rule.metric)
        if value is None:
            return
        try:
            store = self._opened()
            if improves(self.rule.mode, value, self._record.value if self._record else None):
                config, whole = self._config, model()
                record = BestRecord(
                    config.job.name, config.run, self.rule.metric, self.rule.mode, value, updates, samples
                )
                self._record = best.write(store, self._term, record, whole.tensors, ", ".join(whole.lacks))
                self.trouble = ""
        except (TryAgain, UserError) as error:
            self.trouble = str(error)[:TEXT_MOST]
            say(f"the best model is not kept: {error}")

    def _opened(self) -> Store:
        if self._store is None:
            store = open_store(best.place(self._config.checkpoint))
            self._term = store.claim_term(best.SEAT, self._config.run)
            self._record = self._found(store)
            self._store = store
        return self._store

    def _found(self, store: Store) -> BestRecord | None:
        """The record that this start goes on from: its own run's, or that of the job that it resumes."""
        try:
            record = best.read(store)
        except Damaged as error:
            say(f"{error}; the next evaluation begins anew")
            return None
        if record is None or (record.metric, record.mode) != (self.rule.metric, self.rule.mode):
            return None
        resumed = self._config.job.spec.checkpoint.restore == "Latest"
        if record.run != self._config.run and not resumed:
            return None
        return record if store.fs.exists(best.path_of(store, record)) else None

    @property
    def report(self) -> BestReport | None:
        """What shard 0 is told; None before there is one."""
        kept = self._record
        return BestReport(kept.metric, kept.value, kept.updates, kept.samples, kept.file) if kept else None
