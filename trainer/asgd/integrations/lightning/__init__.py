"""A `LightningModule` as a task: `task = lightning.task(LitModel(), datamodule=MyData())`.

The module's own steps, logs and hooks run in the workers and the evaluator; its `configure_optimizers` is the job's
optimizer, with groups and schedulers. What a job can't honour is refused in one sentence.
"""

from __future__ import annotations

from asgd.integrations.lightning.making import task

__all__ = ["task"]
