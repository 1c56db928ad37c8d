"""`task()`: from a model, its data and `TrainingArguments` to an `asgd.Task`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.data import IterableDataset

import asgd
from asgd.errors import UserError
from asgd.integrations.huggingface import settings
from asgd.integrations.huggingface.evaluating import Evaluating
from asgd.integrations.huggingface.settings import Recipe

EVALUATION_BATCH = 8
"""As `TrainingArguments` has it."""


def task(
    model: Any = None,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    *,
    args: Any = None,
    data_collator: Callable[[list[Any]], Any] | None = None,
    processing_class: Any = None,
    compute_metrics: Callable[[Any], Mapping[str, float]] | None = None,
    model_init: Callable[[], nn.Module] | None = None,
    **fields: Any,
) -> asgd.Task:
    """A task of a Hugging Face model, to be given to `asgd.run` or to be named as a job's entrypoint.

    model, model_init  the model, also one of peft's; or a function that makes it
    train_dataset, eval_dataset  of `datasets`, or any map-style; columns that the model does not take are dropped
    args               `TrainingArguments`; without it the job's own optimizer trains
    data_collator, processing_class, compute_metrics  as `Trainer` takes them
    fields             more of `asgd.Task`: callbacks, optimizer and schedulers (without args)

    Raises UserError for what a job can't honour.
    """
    model = _model(model, model_init)
    if train_dataset is None:
        raise UserError("huggingface.task: train_dataset is missing; allowed: a map-style dataset")
    if args is not None:
        settings.check(args)
    labels = _labels(model, args)
    tidy = Tidy(model, labels, args is None or args.remove_unused_columns)
    collate = data_collator or _collator(processing_class)
    stream = isinstance(train_dataset, IterableDataset) or not hasattr(train_dataset, "__len__")
    data, collate_train = tidy(train_dataset, collate, "train_dataset")
    precision = Precision(bool(args is not None and args.bf16))
    evaluate = None
    if eval_dataset is not None:
        measured, collate_measured = tidy(eval_dataset, collate, "eval_dataset")
        batch = EVALUATION_BATCH if args is None else args.per_device_eval_batch_size
        evaluate = Evaluating(measured, collate_measured, batch, labels, compute_metrics, precision)
    elif compute_metrics is not None:
        raise UserError("huggingface.task: compute_metrics needs eval_dataset")
    if args is not None:
        fields = _of_args(args, model, None if stream else len(train_dataset), fields)
    return asgd.Task(
        model=model, loss=Loss(precision), data=data, collate=collate_train, evaluate=evaluate, **fields
    )


def _of_args(args: Any, model: nn.Module, size: int | None, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of the task that `TrainingArguments` say."""
    if both := sorted({"optimizer", "schedulers", "accumulate", "fields"} & fields.keys()):
        raise UserError(f"huggingface.task: {both[0]} and args are both given; allowed: one of them")
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)  # type: ignore[operator]  # a model of theirs
    if getattr(getattr(model, "config", None), "use_cache", None) is not None:
        model.config.use_cache = args.use_cache  # type: ignore[union-attr]  # as Trainer does
    recipe = Recipe(args, model, size)
    return {
        "data_workers": args.dataloader_num_workers,
        "accumulate": args.gradient_accumulation_steps,
        "optimizer": recipe.optimizer,
        "schedulers": recipe.schedulers,
        "fields": settings.fields(args, size is None),
        **fields,
    }


def _model(model: Any, model_init: Callable[[], nn.Module] | None) -> nn.Module:
    if (model is None) == (model_init is None):
        raise UserError("huggingface.task: allowed: either model or model_init")
    found = model_init() if model_init is not None else model
    if not isinstance(found, nn.Module):
        raise UserError(f"huggingface.task: the model is {type(found).__name__}; allowed: a torch.nn.Module")
    return found


def _inside(model: nn.Module) -> Any:
    """The model that takes the batch: of one of peft's, the one below."""
    below = getattr(model, "get_base_model", None)
    return below() if below is not None and hasattr(model, "peft_config") else model


def _labels(model: nn.Module, args: Any) -> list[str]:
    from transformers import utils

    finder: Any = vars(utils)["find_labels"]
    told = None if args is None else args.label_names
    return list(told) if told is not None else list(finder(type(_inside(model))))


def _collator(processing_class: Any) -> Callable[[list[Any]], Any]:
    from transformers import DataCollatorWithPadding, default_data_collator

    if processing_class is not None and hasattr(processing_class, "pad"):
        found: Callable[[list[Any]], Any] = DataCollatorWithPadding(processing_class)
        return found
    return default_data_collator  # type: ignore[no-any-return, unused-ignore]


class Tidy:
    """Drops what the model does not take, as `remove_unused_columns` says."""

    def __init__(self, model: nn.Module, labels: list[str], wanted: bool) -> None:
        inside = _inside(model)
        self._kind, self._wanted = type(inside).__name__, wanted
        taken = [*inspect.signature(inside.forward).parameters, *labels, "label", "label_ids"]
        self._columns = list(dict.fromkeys(taken))

    def __call__(
        self, data: Any, collate: Callable[[list[Any]], Any], place: str
    ) -> tuple[Any, Callable[[list[Any]], Any]]:
        """The dataset and its collator. Raises UserError where nothing is left."""
        if not self._wanted:
            return data, collate
        if not hasattr(data, "remove_columns") or getattr(data, "column_names", None) is None:
            return data, Kept(collate, self._columns)
        unused = [name for name in data.column_names if name not in self._columns]
        if len(unused) == len(data.column_names):
            raise UserError(
                f"{place} has the columns {', '.join(data.column_names)}, and {self._kind}.forward takes none of them;"
                f" allowed: {', '.join(self._columns[:8])}, or remove_unused_columns=False"
            )
        return data.remove_columns(unused), collate


class Kept:
    """A collator that is given no more than these columns."""

    def __init__(self, collate: Callable[[list[Any]], Any], columns: list[str]) -> None:
        self._collate, self._columns = collate, set(columns)

    def __call__(self, samples: list[Any]) -> Any:
        return self._collate(
            [
                {name: value for name, value in sample.items() if name in self._columns}
                if isinstance(sample, Mapping)
                else sample
                for sample in samples
            ]
        )


class Precision:
    """bf16 autocast, or nothing."""

    def __init__(self, bf16: bool) -> None:
        self._bf16 = bf16

    def __call__(self, device: str) -> AbstractContextManager[Any]:
        return torch.autocast(device, dtype=torch.bfloat16) if self._bf16 else nullcontext()


class Loss:
    """`Task.loss`: what the model itself computes of a batch with labels."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        with self._precision(next(model.parameters()).device.type):
            outputs = model(**batch)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs[0]
        if not isinstance(loss, torch.Tensor):
            raise UserError(
                f"{type(model).__name__} gives no loss of a batch with {', '.join(batch)}; allowed: a batch with labels"
            )
        return loss
