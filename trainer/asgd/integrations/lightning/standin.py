"""What a module finds under `self.trainer` where no Trainer trains it."""

from __future__ import annotations

from typing import Any

from asgd.errors import UserError


class Missing(UserError, AttributeError):
    """The module has asked its trainer for something that only Lightning's has."""


class StandIn:
    """`self.trainer` of a module in a job: what is known of it; anything else is refused by name."""

    def __init__(self, max_epochs: int | None, max_steps: int, batches: int | None, accumulate: int) -> None:
        self.max_steps, self.accumulate_grad_batches = max_steps, accumulate
        self.datamodule: Any = None
        self.train_dataloader: Any = None
        self.val_dataloaders: Any = None
        self.callbacks: list[Any] = []
        self.loggers: list[Any] = []
        self.logger = self.progress_bar_callback = None
        self.callback_metrics: dict[str, Any] = {}
        self.logged_metrics = self.progress_bar_metrics = self.callback_metrics
        self.current_epoch = self.global_step = self.global_rank = self.local_rank = self.node_rank = 0
        self.is_global_zero, self.world_size, self.num_nodes, self.num_devices = True, 1, 1, 1
        self.training = self.validating = self.sanity_checking = self.testing = self.predicting = False
        self.fast_dev_run = self.barebones = False
        self._max_epochs, self._batches = max_epochs, batches

    @property
    def max_epochs(self) -> int:
        """Of the whole training."""
        if self._max_epochs is None:
            # NB: an AttributeError of a property would be told as a missing attribute.
            raise UserError(
                "self.trainer.max_epochs is not known; say it: asgd.integrations.lightning.task(module,"
                " max_epochs=20), and stopAfter: {epochs: 20} in the job"
            )
        return self._max_epochs

    @property
    def num_training_batches(self) -> int:
        """Of an epoch of all workers together."""
        if self._batches is None:
            raise UserError(
                "self.trainer.num_training_batches is not known, for the training data are a stream"
            )
        return self._batches

    @property
    def estimated_stepping_batches(self) -> int:
        """Steps of the whole training, of all workers together."""
        if self.max_steps > 0:
            return self.max_steps
        return self.max_epochs * -(-self.num_training_batches // self.accumulate_grad_batches)

    @property
    def should_stop(self) -> bool:
        """Never by the module."""
        return False

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        if value:
            raise UserError(
                "self.trainer.should_stop ends no job; allowed: stopAfter.metric or stopAfter.patience in the job"
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Missing(
            f"self.trainer.{name} is nothing that a module has in an asgd job, where no Trainer trains it; allowed:"
            " max_epochs, estimated_stepping_batches, num_training_batches, current_epoch, global_step, datamodule,"
            " callback_metrics"
        )
