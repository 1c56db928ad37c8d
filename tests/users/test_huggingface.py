"""A Hugging Face model as a task: one worker is transformers' Trainer, metrics are its own, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import asgd
from asgd.errors import UserError
from tests.users.alone import work_alone

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")
WORDS, SAMPLES, BATCH, EPOCHS = 20, 40, 8, 2


def model(labels: int = 2) -> Any:
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, num_labels=labels, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def data(samples: int = SAMPLES, seed: int = 1) -> Any:
    words = torch.randint(1, WORDS, (samples, 6), generator=torch.Generator().manual_seed(seed))
    labels = (words.float().mean(1) > WORDS / 2).long()
    names = [f"text {number}" for number in range(samples)]
    return datasets.Dataset.from_dict({"text": names, "input_ids": words.tolist(), "label": labels.tolist()})


def arguments(folder: Path, **options: Any) -> Any:
    given = {
        "per_device_train_batch_size": BATCH, "num_train_epochs": EPOCHS, "learning_rate": 1e-3, "weight_decay": 0.1,
        "warmup_steps": 4, "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    return transformers.TrainingArguments(output_dir=str(folder / "hf"), **given | options)


def task_of(folder: Path, **options: Any) -> asgd.Task:
    from asgd.integrations import huggingface

    settings = options.pop("settings", {})
    given = {"model": model(), "train_dataset": data(), "args": arguments(folder, **settings)}
    return huggingface.task(**given | options)


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class Same(transformers.Trainer):  # type: ignore[misc, name-defined]
    """Trainer over the very batches that the job's worker has read."""

    batches: list[Any]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Of the whole training; the last step is not compared."""
        return super().create_scheduler(EPOCHS * SAMPLES // BATCH, optimizer)

    def get_train_dataloader(self) -> Any:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def apart(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def recorded(task: asgd.Task, last: nn.Module) -> list[Any]:
    """The batches of the task's loss, as they come; `last` has the weights of the last one."""
    seen: list[Any] = []
    loss: Callable[..., Any] = task.loss

    def listened(model: nn.Module, batch: Any) -> Any:
        seen.append({name: value.clone() for name, value in batch.items()})
        last.load_state_dict(model.state_dict())
        return loss(model, batch)

    task.loss = listened
    return seen


@pytest.mark.parametrize(
    ("settings", "algorithm"),
    [
        ({}, "asgd"),
        ({"optim": "sgd", "lr_scheduler_type": "cosine", "max_grad_norm": 0.0}, "asgd"),
        ({"lr_scheduler_type": "constant_with_warmup"}, "local-sgd"),
    ],
    ids=["adamw", "sgd", "local"],
)
def test_one_worker_is_transformers_trainer(settings: dict[str, Any], algorithm: str, tmp_path: Path) -> None:
    task, last = task_of(tmp_path, settings=settings), model()
    seen = recorded(task, last)
    clip = task.fields.get("optimizer.clipNorm")
    spec = {"algorithm": {"name": algorithm}, "optimizer": {"clipNorm": clip} if clip else {}}
    assert work_alone(tmp_path, task, batchSize=BATCH, stopAfter={"epochs": EPOCHS}, **spec) == 0
    assert len(seen) >= EPOCHS * SAMPLES // BATCH
    plainly = Same(model(), arguments(tmp_path, max_steps=len(seen) - 1, **settings), train_dataset=data())
    plainly.batches = seen[:-1]
    plainly.train()
    assert apart(last, plainly.model) < 2e-6
    assert apart(last, model()) > 1e-4


def test_evaluation_is_trainer_s(tmp_path: Path) -> None:
    held = data(21, seed=2)
    task = task_of(tmp_path, eval_dataset=held, compute_metrics=accuracy)
    assert task.evaluate is not None
    task.model.eval()
    found = task.evaluate(task.model)
    trainer = transformers.Trainer(
        task.model, arguments(tmp_path), eval_dataset=held, compute_metrics=accuracy
    )
    wanted = trainer.evaluate()
    assert found.keys() == {"eval_loss", "eval_accuracy"}
    assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-6)


def test_columns_that_the_model_does_not_take_are_dropped_and_the_collator_names_the_labels(
    tmp_path: Path,
) -> None:
    task = task_of(tmp_path)
    assert sorted(task.data.column_names) == ["input_ids", "label"]  # type: ignore[union-attr]
    assert task.collate is not None
    batch = task.collate([task.data[0], task.data[1]])  # type: ignore[index]
    assert batch.keys() == {"input_ids", "labels"}
    plain = [{"input_ids": [1, 2], "label": 0, "text": "a"}] * 8
    listed = task_of(tmp_path, train_dataset=plain)
    assert listed.collate is not None
    assert listed.collate(plain[:2]).keys() == {"input_ids", "labels"}


def test_padding_and_language_models_come_as_in_trainer(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=WORDS, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    gpt = transformers.LlamaForCausalLM(config).eval()
    ids = [[1, 2, 3, 4], [5, 6, 7, 8], [2, 3, 4, 5]]
    held = datasets.Dataset.from_dict({"input_ids": ids, "labels": ids})
    seen: list[Any] = []

    def shapes(prediction: Any) -> dict[str, float]:
        seen.append((prediction.predictions.shape, prediction.label_ids.shape))
        return {}

    settings = {"per_device_eval_batch_size": 2}
    task = task_of(
        tmp_path, model=gpt, train_dataset=held, eval_dataset=held, compute_metrics=shapes, settings=settings
    )
    assert task.evaluate is not None
    found = task.evaluate(gpt)
    trainer = transformers.Trainer(
        gpt, arguments(tmp_path, **settings), eval_dataset=held, compute_metrics=shapes
    )
    assert found["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)
    assert seen[0] == seen[1] == ((3, 4, WORDS), (3, 4))


def test_of_a_model_with_lora_only_the_adapters_are_trained(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    small = peft.get_peft_model(
        model(), peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    )
    frozen = {n: p.detach().clone() for n, p in small.named_parameters() if not p.requires_grad}
    task = task_of(tmp_path, model=small)
    assert sorted(task.data.column_names) == ["input_ids", "label"]  # type: ignore[union-attr]
    trained = {n: p.detach().clone() for n, p in small.named_parameters() if p.requires_grad}
    spec: dict[str, Any] = {"optimizer": {"clipNorm": 1.0}, "stopAfter": {"epochs": EPOCHS}}
    assert work_alone(tmp_path, task, batchSize=BATCH, **spec) == 0
    now = dict(small.named_parameters())
    assert all(torch.equal(now[name], before) for name, before in frozen.items())
    assert any(not torch.equal(now[name], before) for name, before in trained.items())


def test_arguments_become_fields_of_the_job(tmp_path: Path) -> None:
    task = task_of(tmp_path, settings={"gradient_accumulation_steps": 2, "dataloader_num_workers": 1})
    assert task.fields == {"batchSize": 2 * BATCH, "optimizer.clipNorm": 1.0, "stopAfter.epochs": 2.0}
    assert (task.accumulate, task.data_workers) == (2, 1)
    optimizer = task.optimizer([*task.model.parameters()])  # type: ignore[operator, misc]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    names = {id(p): name for name, p in task.model.named_parameters()}
    kept = {names[id(p)] for p in optimizer.param_groups[1]["params"]}
    assert kept == {name for name in names.values() if "bias" in name or "LayerNorm" in name}


def test_without_arguments_the_job_s_own_optimizer_trains(tmp_path: Path) -> None:
    task = task_of(tmp_path, args=None, model=None, model_init=model)
    assert task.optimizer is None and task.fields == {}
    batch = task.collate([task.data[0]])  # type: ignore[index, misc]
    assert task.loss(task.model, batch).requires_grad


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"label_smoothing_factor": 0.1},
            "TrainingArguments(label_smoothing_factor=0.1) is not honoured by a job",
        ),
        ({"seed": 7}, "TrainingArguments(seed=7) is not honoured by a job; allowed: 42; say seed in the job"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha=5.0"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy="),
        ({"dataloader_drop_last": True}, "dataloader_drop_last=True"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}, "follows a metric"),
        (
            {"load_best_model_at_end": True, "save_strategy": "epoch", "eval_strategy": "epoch"},
            "say checkpoint: {best:",
        ),
    ],
)
def test_settings_that_change_the_training_and_can_t_be_honoured_are_refused(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        task_of(tmp_path, settings=settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_init": model}, "allowed: either model or model_init"),
        ({"model": 3}, "the model is int; allowed: a torch.nn.Module"),
        ({"train_dataset": None}, "train_dataset is missing"),
        ({"compute_metrics": accuracy}, "compute_metrics needs eval_dataset"),
        ({"optimizer": torch.optim.AdamW}, "optimizer and args are both given"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        task_of(tmp_path, **options)
    assert said in str(caught.value)


def test_data_without_a_column_of_the_model_s_are_refused(tmp_path: Path) -> None:
    strange = datasets.Dataset.from_dict({"text": ["a", "b"]})
    with pytest.raises(
        UserError, match=r"train_dataset has the columns text, and BertForSequenceClassification"
    ):
        task_of(tmp_path, train_dataset=strange)
    task = task_of(tmp_path)
    with pytest.raises(
        UserError, match=r"gives no loss of a batch with input_ids; allowed: a batch with labels"
    ):
        task.loss(task.model, {"input_ids": torch.ones(1, 3, dtype=torch.long)})
