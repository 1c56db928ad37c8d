"""Opens what a logger writes to: only here are the libraries imported, in the logger's own process."""

from __future__ import annotations

from asgd.loggers.sink import Place, Sink
from asgd.spec.types import Logger


def open_sink(logger: Logger, place: Place) -> Sink:
    """Imports the library, which takes seconds, and begins the run or goes on with it."""
    if logger.tensorboard is not None:
        from asgd.loggers.to_tensorboard import TensorBoardSink

        return TensorBoardSink(logger.tensorboard, place)
    if logger.mlflow is not None:
        from asgd.loggers.to_mlflow import MLflowSink

        return MLflowSink(logger.mlflow, place)
    from asgd.loggers.to_wandb import WandBSink

    assert logger.wandb is not None
    return WandBSink(logger.wandb, place)
