"""How far the job is, and what its evaluations say: the coordinator's part that is about the evaluator and the end.

An evaluation that fails, or that nobody is left to make, is counted and told; training goes on. Only a job that a
metric alone could end does not wait for ever for the next one. Pure; times are seconds.
"""

from __future__ import annotations

from asgd.server.evaluation import EvaluatorLife
from asgd.server.patience import Patience
from asgd.server.rhythm import Counts, passed
from asgd.server.suspects import Suspects
from asgd.spec.status import BestView
from asgd.spec.types import JobSpec, Metric
from asgd.wire.limits import FIGURES_MOST
from asgd.wire.reports import BestReport

PULLS_KEPT = 64
"""Of so many versions that the evaluator has pulled it is remembered how far the job was."""
FAILED_MOST = 3
"""So many failed evaluations in a row end a job that only a metric could end."""


class Evaluations(Suspects):
    """The job's phase and stop reason, its metrics, and its evaluator."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.phase = "starting"
        self.phase_since = 0.0
        self.stop_detail = ""
        """What led to the stop reason, in a sentence, where the reason alone does not say it."""
        self.first_push: float | None = None
        self.changes = 0
        """Grows with what has to be saved although no push has come."""
        self.metrics: dict[str, float] = {}
        self.metrics_at = -1
        self.evaluated_at = Counts()
        """How far the job was when those weights stood that were evaluated last, well or not."""
        self._pulled: dict[int, Counts] = {}
        self.best: BestView | None = None
        """The best evaluation, whose weights the evaluator keeps."""
        self.evaluations_failed = 0
        self.evaluation_error = ""
        """Why the newest evaluation has failed, if it has."""
        self.patience = Patience()
        self.evaluator = EvaluatorLife()

    def stop(self, reason: str, now: float) -> None:
        """Ends the job; the first reason stays."""
        if not self.stop_reason:
            self.stop_reason = reason
            self.changes += 1
            self._enter("stopping", now)

    def _enter(self, phase: str, now: float) -> None:
        self.phase, self.phase_since = phase, now

    @property
    def counts(self) -> Counts:
        """How far the job is."""
        raise NotImplementedError

    @property
    def evaluation_due(self) -> int:
        """A number of the newest multiple of updates or epochs that no evaluation has looked at; 0: there is none."""
        return passed(self.spec.evaluation, self.evaluated_at, self.counts)

    def pulled(self, version: int) -> None:
        """The evaluator takes the weights of `version` of shard 0 at this moment."""
        self._pulled.setdefault(version, self.counts)
        if len(self._pulled) > PULLS_KEPT:
            del self._pulled[next(iter(self._pulled))]

    def counts_of(self, version: int) -> Counts:
        """How far the job was when the evaluator took the weights of `version`; a round's version counts rounds."""
        return self._pulled.get(version, Counts(version, self.counts.epochs))

    def evaluated(
        self, updates: int, metrics: dict[str, float], final: bool, now: float, error: str = "", *,
        epochs: float | None = None, of_script: bool = False,
    ) -> None:  # fmt: skip
        """The evaluator's result on the weights after so many updates and epochs; `error`: why it has none.

        A script may tell of the same weights in several calls (`of_script`), which add up.
        """
        self.evaluated_at = Counts(updates, self.counts.epochs if epochs is None else epochs)
        together = self.metrics | metrics
        if of_script and updates == self.metrics_at and len(together) <= FIGURES_MOST:
            metrics = together
        if not error:
            self.metrics, self.metrics_at, self.evaluation_error = dict(metrics), updates, ""
            self.evaluator.failed = 0
            self._name_missing(metrics, "the script reports" if of_script else "`evaluate` gives")
        self.evaluator.told(self.spec.evaluation.seconds, now)
        if error:
            self._evaluation_failed(error, now)
        if final and self.phase == "evaluating":
            self._enter("finished", now)
        if _reached(self.spec.stop_after.metric, metrics):
            self.stop("metric", now)
        if not error:
            self._look_at_patience(metrics, updates, now)

    def _look_at_patience(self, metrics: dict[str, float], updates: int, now: float) -> None:
        rule = self.spec.stop_after.patience
        if rule is None or self.stop_reason:
            return
        if why := self.patience.look(rule, metrics.get(rule.metric), updates):
            self.stop_detail = why
            self.stop("patience", now)

    def _name_missing(self, metrics: dict[str, float], by: str) -> None:
        """A field goes by a metric that is not told: told once. `by`: `evaluate` gives."""
        for field, name in wanted_metrics(self.spec).items():
            gives = ", ".join(sorted(metrics)) or "nothing"
            text = f"spec.{field}: {name} is nothing that {by}; it {by.split()[-1]} {gives}"
            if name not in metrics and all(notice.text != text for notice in self.notices.newest):
                self.notices.add(text, "evaluation")

    def keeps_best(self, kept: BestReport | None, uri: str, trouble: str) -> None:
        """The evaluator's word on the best weights that it keeps; `trouble`: why better ones are not in the store.

        `uri`: of the checkpoint store.
        """
        place = f"{uri.rstrip('/')}/best/{kept.file}" if kept else ""
        best = BestView(kept.metric, kept.value, kept.updates, kept.samples, place) if kept else None
        if best and best != self.best:
            self.best = best
            self.changes += 1
        text = f"the best model is not kept: {trouble}"
        if trouble and all(notice.text != text for notice in self.notices.newest):
            self.notices.add(text, "evaluation")

    def _evaluation_failed(self, why: str, now: float) -> None:
        """An evaluation has failed. A job that only a metric can end does not wait for ever for the next one."""
        if why != self.evaluation_error:
            self.notices.add(f"an evaluation failed: {why}", "evaluation")
        self.evaluations_failed += 1
        self.evaluation_error = why
        self.evaluator.failed += 1
        if self.evaluator.failed >= FAILED_MOST:
            self._end_without_metric(now)

    def _end_without_metric(self, now: float) -> None:
        if self.spec.stop_after.only_evaluated:
            self.stop_detail = self.stop_detail or self.evaluation_error
            self.stop("unevaluated", now)

    def meet_evaluator(self, now: float, incarnation: int = 0) -> None:
        """The evaluator joined, or was heard of."""
        if self.evaluator.meet(now, incarnation):
            self.restarts["evaluator"] = self.restarts.get("evaluator", 0) + 1

    def leave_evaluator(self, lost: bool, now: float) -> None:
        """The evaluator has left, for another one to come; `lost`: for good, as its parent process says."""
        self.evaluator.leave(lost)
        if lost and self.phase != "finished":
            self._evaluation_failed("the evaluator has ended again and again, and is given up", now)
            self._end_without_metric(now)

    def await_evaluator(self) -> None:
        """A worker says that the task has an evaluation."""
        self.evaluator.expect()

    @property
    def evaluator_heard(self) -> float | None:
        """When the evaluator was heard of; None while there is none."""
        return self.evaluator.heard

    def _look_at_evaluator(self, now: float) -> None:
        """An evaluator that hangs while the job trains is told to end, so that another one can start."""
        if self.first_push is None:
            return
        self.evaluator.ask(self.evaluation_due > 0, now)
        if seconds := self.evaluator.hangs(self.spec, self.first_push, now):
            self.evaluator.given_up = f"the evaluator has told nothing for {seconds:.0f} s: it has to end"
            self.notices.add(self.evaluator.given_up, "evaluator")
        if seconds := self.evaluator.missing(self.spec, self.first_push, now):
            self._evaluation_failed(
                f"none has come for {seconds:.0f} s: the evaluator is not there, or ends again and again", now
            )
            self._end_without_metric(now)

    def _end_evaluation(self, now: float) -> None:
        seconds = now - self.phase_since
        if self.evaluator.silent(self.phase_since, now):
            if self.evaluator.wanted and not self.evaluator.gone:
                self._evaluation_failed("the evaluator was not there for the final one", now)
            self._enter("finished", now)
        elif seconds > self.evaluator.deadline(self.spec):
            why = f"the final evaluation has told nothing for {seconds:.0f} s: the job ends without it"
            self.evaluator.given_up = self.evaluation_error = why
            self.evaluations_failed += 1
            self.notices.add(why, "evaluator")
            self._enter("finished", now)


def wanted_metrics(spec: JobSpec) -> dict[str, str]:
    """{field: the metric that it goes by}"""
    found = {}
    if spec.stop_after.metric:
        found["stopAfter.metric.name"] = spec.stop_after.metric.name
    if spec.stop_after.patience:
        found["stopAfter.patience.metric"] = spec.stop_after.patience.metric
    if spec.checkpoint.best:
        found["checkpoint.best.metric"] = spec.checkpoint.best.metric
    return found


def _reached(rule: Metric | None, metrics: dict[str, float]) -> bool:
    if rule is None or rule.name not in metrics:
        return False
    value = metrics[rule.name]
    return (rule.at_least is not None and value >= rule.at_least) or (
        rule.at_most is not None and value <= rule.at_most
    )
