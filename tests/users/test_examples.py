"""The large examples as a user runs them, shrunken: their own job files and scripts, on little data and few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from asgd.examples import lora
from tests.clothes import write_clothes
from tests.users.jobs import ROOT, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLES = ROOT / "examples"


def sets(*fields: str) -> list[str]:
    return [part for field in fields for part in ("--set", field)]


def test_clothes_are_sorted_with_batch_norm_a_moving_average_and_the_best_model(tmp_path: Path) -> None:
    ran = run(
        EXAMPLES / "fashion.yaml", tmp_path,
        *sets(f"args.folder={write_clothes(tmp_path)}", "args.width=4", "workers.replicas=2", "stopAfter.epochs=10",
              "optimizer.schedule.length=10"),
    )  # fmt: skip
    assert ran.summary["stopReason"] == "epochs"
    assert ran.summary["metrics"]["accuracy"] > 0.5 and "ema.accuracy" in ran.summary["metrics"]
    best = load_file(ran.output / "model-best.safetensors")
    assert "stem.1.running_mean" in best


def test_adapters_alone_travel_and_the_model_file_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)
    lora.base().save_pretrained(tmp_path / "lora-base")
    ran = run(EXAMPLES / "lora.yaml", tmp_path, *sets("workers.replicas=2", "stopAfter.updates=30"))
    assert ran.summary["stopReason"] == "updates"
    assert "AdamW of the script, run on the servers (2 groups)" in ran.said
    found = load_file(ran.output / "model.safetensors")
    model = lora.adapted(str(tmp_path / "lora-base"))
    model.load_state_dict(found, strict=True)
    before = lora.adapted(str(tmp_path / "lora-base")).state_dict()
    assert {name for name, tensor in found.items() if not torch.equal(tensor, before[name])} == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def test_a_missing_base_model_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    ran = run(EXAMPLES / "lora.yaml", tmp_path, *sets("workers.replicas=1"))
    assert ran.code == 2, ran.said
    assert "there is no base model in" in ran.said and "Traceback" not in ran.said
