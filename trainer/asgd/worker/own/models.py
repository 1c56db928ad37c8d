"""Several models in one job: what `asgd.connect({"generator": g, "critic": c}, ...)` gives back.

In the flat vector one lies behind the other, and a step of one is an exchange about its part alone. What is dealt,
counted as samples and waited for is the job's, whichever model steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from asgd.spec.models import JobOfModels
from asgd.worker.device.flat import Flat, Share
from asgd.worker.optimizing.handed import Handed
from asgd.worker.own.groups import Groups
from asgd.worker.own.loop import Joining, Loop
from asgd.worker.reading.leased import Leasing
from asgd.worker.replica import Replica


class Together(nn.Module):
    """Modules by name; `nn.ModuleDict` refuses names that it uses itself."""

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(models)


@dataclass(frozen=True, slots=True)
class Joint:
    """The models in one vector, in order; `handed`: a script's own optimizers, or none."""

    model: Together
    flat: Flat
    shares: Mapping[str, Share]
    handed: Sequence[Handed]


class Models(Loop, Mapping[str, "ModelOptimizer"]):
    """The models' optimizers by name; the rest is as with one model: `until_stopped`, `report`, `stopped`, ..."""

    def __init__(
        self, joining: Joining, replica: Replica, joint: Joint, leasing: Leasing, leaving: list[int]
    ) -> None:  # fmt: skip
        spec = joining.spec
        assert isinstance(spec, JobOfModels)
        self._own = {
            name: ModelOptimizer(self, spec, number, joint) for number, name in enumerate(joint.shares)
        }
        own = (*self._own.values(), *(handed.optimizer for handed in joint.handed)) if joint.handed else ()
        super().__init__(joining, replica, joint.model, joint.flat, leasing, leaving, own)

    def __getitem__(self, name: str) -> ModelOptimizer:
        return self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """All gradients of all models are 0."""
        self._zero(None)

    def _zero(self, share: Share | None) -> None:
        self._begin()
        self._replica.vectors.flat.zero(share)

    def _counting(self, told: int | None) -> Callable[[int], int]:
        """The samples of a step: those dealt since the step before, of whichever model; the job counts each once."""

        def count(dealt: int) -> int:
            if told is not None:
                return max(dealt, told)
            if dealt or self._dealing is not None:
                return dealt
            if self._pace.passing:
                return self._spec.batch_size if self._items else 0
            self._say_no_data(" of each model")
            return self._spec.batch_size

        return count


class ModelOptimizer(Groups):
    """The optimizer of one model of several: its steps move nothing of the others.

    `param_groups` and `state` are as those of `Connection`.
    """

    def __init__(self, models: Models, spec: JobOfModels, number: int, joint: Joint) -> None:
        name = spec.names[number]
        self._models, self._of = models, joint.shares[name]
        handed = joint.handed[number] if joint.handed else None
        super().__init__(
            spec.models[number].optimizer, joint.model, self._of, handed, name=name, number=number
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """This model's gradients are 0; those of others stay."""
        self._models._zero(self._of)

    def step(
        self, closure: Callable[[], Any] | None = None, *, loss: Any = None, samples: int | None = None
    ) -> Any:
        """As `Connection.step`, of this model alone.

        `samples` default to what was dealt since the step before, of whichever model: a second step on one batch has
        none of its own.
        """
        return self._models._step(self, closure, loss, self._models._counting(samples))
