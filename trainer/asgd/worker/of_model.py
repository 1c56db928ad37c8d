"""What a worker's core knows of each model that it trains: of the only one, or of several that step by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from asgd.algorithms.base import WorkerStrategy
from asgd.algorithms.schedule import of_rule, slowed
from asgd.spec.models import JobOfModels
from asgd.spec.types import JobSpec, Optimizer
from asgd.worker.reading.leased import Visits
from asgd.worker.sending.headers import Outcome, Pending

Settings = list[dict[str, float]]


@dataclass(slots=True)
class Own:
    """What a worker knows of one model: the only one, or number `model` of several."""

    optimizer: Optimizer
    """Whose rate and schedule its steps go by."""
    model: int | None = None
    pending: Pending = field(default_factory=Pending)
    dropped: int = 0
    """Batches in a row."""
    versions: tuple[int, ...] = ()
    """Versions of the shards in the weights of this moment, of one of several models its updates there."""
    computed_from: tuple[int, ...] = ()
    """The same of the newest gradient."""
    settings: Settings = field(default_factory=list)
    """Figures of a script's own optimizer that have moved."""

    def select(self, rule: WorkerStrategy) -> None:
        """What comes next is of this model, where there are several."""
        if self.model is not None:
            rule.part = self.model

    def take(self) -> Pending:
        """What is computed and not pushed, which is nothing from here on."""
        found, self.pending = self.pending, Pending()
        return found

    def note(self, samples: int, loss: float | None, visits: Visits) -> None:
        """A step is made and not pushed yet."""
        self.pending.samples += samples
        self.pending.steps += 1
        self.pending.visits.extend(visits)
        if loss is not None:
            self.pending.losses.append(loss)

    def bases(self, rule: WorkerStrategy) -> tuple[int, ...]:
        """What the next push says that it was computed from; none where the channels know by parts (fragments)."""
        if self.model is not None:
            return self.computed_from or self.versions
        return self.computed_from if rule.parts == 1 else ()

    def pulled(self, outcome: Outcome) -> None:
        """The weights of this moment are those that came."""
        if self.model is None:
            self.versions = outcome.versions
        else:
            self.versions = tuple(counts[self.model] for counts in outcome.models)


def each_of(spec: JobSpec, rule: WorkerStrategy, rollbacks: int = 0) -> list[Own]:
    """A new one of each model, at the learning rate that rollbacks have left."""
    left = slowed(of_rule(spec, rule), rollbacks)
    if not isinstance(left, JobOfModels):
        return [Own(left.optimizer)]
    return [Own(left.of(model).optimizer, model) for model in range(len(left.models))]


def overlaps(spec: JobSpec, rule: WorkerStrategy) -> bool:
    """Whether exchanges are under way while the next step computes."""
    return spec.exchange.ahead > 0 or rule.delay > 0
