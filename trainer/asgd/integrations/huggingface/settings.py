"""`TrainingArguments` in a job: which count, which say nothing about the training, and which are refused by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from asgd.errors import UserError

HONOURED = {
    "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "learning_rate",
    "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "optim", "optim_args", "weight_decay",
    "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "bf16", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "use_cache", "per_device_eval_batch_size", "dataloader_num_workers",
    "remove_unused_columns", "label_names",
}  # fmt: skip
NEUTRAL = {
    "output_dir", "overwrite_output_dir", "do_train", "do_eval", "do_predict", "disable_tqdm", "run_name", "project",
    "report_to", "debug", "skip_memory_metrics", "use_cpu", "no_cuda", "local_rank", "ddp_timeout", "ddp_backend",
    "log_level", "log_level_replica", "log_on_each_node", "resume_from_checkpoint", "torch_empty_cache_steps",
    "include_num_input_tokens_seen", "include_tokens_per_second", "restore_callback_states_from_checkpoint",
    "greater_is_better", "enable_jit_checkpoint", "average_tokens_across_devices", "ignore_data_skip",
}  # fmt: skip
"""They change nothing of what is trained; the job has fields of its own for where, when and how often."""
NEUTRAL_BEGINNINGS = ("logging_", "save_", "push_to_hub", "hub_", "trackio_", "eval_", "dataloader_p")
NOT_YET = {
    "load_best_model_at_end": "checkpoint: {best: {metric: eval_loss, mode: min}} in the job",
    "metric_for_best_model": "checkpoint: {best: {metric: eval_loss, mode: min}} in the job",
    "seed": "seed in the job",
    "data_seed": "seed in the job",
    "label_smoothing_factor": "a loss in the model's forward",
    "fp16": "bf16=True, or model.to(torch.bfloat16)",
    "neftune_noise_alpha": "noise in the model's forward",
    "deepspeed": "workers: {replicas: 4} in the job",
    "fsdp": "workers: {replicas: 4} in the job",
    "torch_compile": "torch.compile(model)",
    "auto_find_batch_size": "per_device_train_batch_size",
    "dataloader_drop_last": "a dataset whose size the batch size divides",
}
"""What to say in the place of a setting that is refused."""
WITHOUT_STEPS = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow a metric."""


def check(args: Any) -> None:
    """Raises UserError for a setting that would change the training, and can't be honoured."""
    schedule = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    if schedule in WITHOUT_STEPS:
        raise UserError(
            f"TrainingArguments(lr_scheduler_type={schedule!r}) follows a metric, and metrics are measured beside the"
            " training; allowed: a schedule by steps, as 'linear' or 'cosine'"
        )
    plain = type(args)(output_dir=args.output_dir)
    for field in dataclasses.fields(args):
        name, value, usual = field.name, getattr(args, field.name), getattr(plain, field.name)
        known = name in HONOURED or name in NEUTRAL or name.startswith(NEUTRAL_BEGINNINGS)
        if known or not field.init or _same(value, usual):
            continue
        way = f"; say {NOT_YET[name]}" if name in NOT_YET else ""
        raise UserError(
            f"TrainingArguments({name}={value!r}) is not honoured by a job; allowed: {usual!r}{way}"
        )


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) or str(one) == str(other)
    except (TypeError, ValueError, RuntimeError):
        return False


def fields(args: Any, stream: bool) -> dict[str, Any]:
    """What the job has to say alike."""
    found: dict[str, Any] = {}
    if not stream:
        found["batchSize"] = args.per_device_train_batch_size * args.gradient_accumulation_steps
    if args.max_grad_norm:
        found["optimizer.clipNorm"] = float(args.max_grad_norm)
    if args.max_steps > 0:
        found["stopAfter.updates"] = args.max_steps
    elif not stream:
        found["stopAfter.epochs"] = float(args.num_train_epochs)
    return found


class Recipe:
    """The optimizer and the schedule of `args` over `model`. `size`: samples of an epoch; None for streams."""

    def __init__(self, args: Any, model: nn.Module, size: int | None) -> None:
        self.args, self.model, self.size = args, model, size

    @property
    def steps(self) -> int:
        """Of the whole training, of all workers together."""
        args = self.args
        if args.max_steps > 0:
            return int(args.max_steps)
        if self.size is None:
            raise UserError(
                "TrainingArguments: max_steps is needed with streams, which have no epochs; allowed: max_steps above 0"
            )
        batch: int = args.per_device_train_batch_size * args.gradient_accumulation_steps
        return math.ceil(float(args.num_train_epochs) * math.ceil(self.size / batch))

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """`Task.optimizer`, as `Trainer.create_optimizer` makes it: no decay of biases and norms."""
        from transformers import Trainer

        model: Any = self.model
        # NB: the method looks at nothing of a trainer's own.
        decays = set(Trainer.get_decay_parameter_names(None, model))  # type: ignore[arg-type, unused-ignore]
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in trained if name in decays], "weight_decay": self.args.weight_decay},
            {"params": [p for name, p in trained if name not in decays], "weight_decay": 0.0},
        ]
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(self.args, model)
        if strange := sorted({"params", "model", "optimizer_dict"} & settings.keys()):
            raise UserError(
                f"TrainingArguments(optim={str(self.args.optim)!r}) makes groups of its own ({strange[0]}); allowed:"
                " adamw_torch, adafactor, sgd, adagrad, rmsprop"
            )
        made: torch.optim.Optimizer = kind([group for group in groups if group["params"]], **settings)
        return made

    def schedulers(self, optimizer: torch.optim.Optimizer) -> Any:
        """`Task.schedulers`: warm-up and decay over all steps of the training."""
        from transformers import get_scheduler

        return get_scheduler(
            self.args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=self.args.get_warmup_steps(self.steps),
            num_training_steps=self.steps,
            scheduler_specific_kwargs=self.args.lr_scheduler_kwargs or None,
        )
