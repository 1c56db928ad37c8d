"""What a run is asked for wherever it trains: `asgd.Run` on this machine, `asgd.client.Run` on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor, nn

    from asgd.interactive.table import Row
    from asgd.spec.status import Status


class BaseRun(ABC):
    """One run of a job: going on, finished, failed or interrupted.

    name    of its job                                      status   newest `asgd.spec.status.Status`, None before
    done    whether it has ended                            history  what happened, a row a second
    metrics newest evaluation, {name: value}
    """

    name: str

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Self:
        """Shows the run until it has ended; returns it. Raises RunFailed when it ended otherwise than well,
        TimeoutError when `timeout` seconds are over before.
        """

    def follow(self, timeout: float | None = None) -> Self:
        """As `wait`."""
        return self.wait(timeout)

    @abstractmethod
    def stop(self, *, wait: bool = True) -> Self:
        """Ends it well, with what it has reached; with `wait` returns when that is done."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether it has ended, well or not."""

    @property
    @abstractmethod
    def status(self) -> Status | None:
        """What shard 0 told last; None before its first word."""

    @property
    @abstractmethod
    def metrics(self) -> dict[str, float | None]:
        """The newest evaluation's {name: value}; empty before the first."""

    @property
    def history(self) -> Any:
        """A pandas DataFrame where pandas is installed, else a list of dicts.

        A row a second with updates, samples, epochs, loss, rates and workers, and a row an evaluation with its
        metrics; what a row does not tell is NaN in the frame and missing in the dict.
        """
        rows = self._rows()
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    @abstractmethod
    def model(self) -> nn.Module:
        """The task's model with the trained weights, in evaluation mode; it is built anew by the task's code.

        Raises UserError where there is no model, and for an entrypoint that is a script.
        """

    @abstractmethod
    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained weights by name. Raises UserError where there is no model."""

    @abstractmethod
    def _rows(self) -> list[Row]:
        """The rows of `history`."""
