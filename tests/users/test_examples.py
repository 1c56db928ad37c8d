"""The large examples as a user runs them, shrunken: their own job files and scripts, on little data and few steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from asgd.examples import dcgan, lora
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


def test_two_models_draw_and_leave_a_picture(tmp_path: Path) -> None:
    ran = run(
        EXAMPLES / "dcgan.yaml",
        tmp_path,
        *sets(f"args.folder={write_clothes(tmp_path)}", "workers.replicas=1"),
    )
    assert ran.summary["stopReason"] == "epochs"
    found = load_file(ran.output / "model.safetensors")
    for name, model in (("generator", dcgan.generator()), ("critic", dcgan.critic())):
        own = {
            key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")
        }
        model.load_state_dict(own, strict=True)
    assert (tmp_path / "dcgan.png").stat().st_size > 1000


def test_plain_scripts_are_scripts_that_run(tmp_path: Path) -> None:
    """The one that a shrunken data set can shorten; the others differ from it in their model and data."""
    folder = str(write_clothes(tmp_path))
    done = subprocess.run(
        [sys.executable, EXAMPLES / "scripts" / "dcgan_plain.py", "--folder", folder, "--epochs", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert "Fréchet distance" in done.stdout, done.stderr
