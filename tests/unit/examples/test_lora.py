"""The LoRA example: what is missing is said in a sentence; its texts share nothing, and only adapters are trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.examples import lora


def test_without_transformers_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError,
        match=r"^this example needs transformers and peft: pip install 'asgd-operator\[huggingface\]'$",
    ):
        lora.base()


def test_without_the_base_one_sentence_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        lora.adapted(str(tmp_path / "none"))
    assert str(refusal.value) == (
        f"there is no base model in {tmp_path}/none: python examples/scripts/lora_base.py {tmp_path}/none makes it"
    )


def test_held_out_modules_are_not_learnt() -> None:
    assert not set(lora.CODE) & set(lora.HELD_OUT_CODE)
    assert len(lora.code()) > 5000 and lora.code(lora.HELD_OUT_CODE).shape[1] == lora.CONTEXT + 1


@pytest.mark.slow
def test_only_the_adapters_are_trained(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora.base().save_pretrained(tmp_path)
    model = lora.adapted(str(tmp_path))
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    assert sum(trained.values()) == 9_856
    assert sum(p.numel() for p in model.parameters()) == 112_960 + 9_856
