"""A Hugging Face model and its data as a task: `task = huggingface.task(model, dataset, args=TrainingArguments(...))`.

It trains as `Trainer` would: the model's own loss, its collator, AdamW without decay of biases and norms, the warm-up
of `TrainingArguments`. What of those a job can't honour is refused by name.
"""

from __future__ import annotations

from asgd.integrations.huggingface.making import task

__all__ = ["task"]
