"""A small Llama, made from a config, has read Python's language reference and learns source code by adapters (LoRA).

The base is trained once, on the text of `charlm`, and stays frozen: only the adapters are parameters of the job and
travel. What they learn, and what is held out, are modules of the standard library as every Python carries them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.examples.charlm import ALPHABET, LEARNT, encode, topics, windows

CONTEXT = 64
CODE = (
    "argparse",
    "configparser",
    "csv",
    "difflib",
    "inspect",
    "shutil",
    "statistics",
    "subprocess",
    "threading",
)
HELD_OUT_CODE = ("heapq", "fractions", "gettext")
SIZES = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EXTRA = "this example needs transformers and peft: pip install 'asgd-operator[huggingface]'"


def base() -> Any:
    """A `LlamaForCausalLM` that has learnt nothing, over the alphabet of `charlm`."""
    from_hub = installed("transformers")
    config = from_hub.LlamaConfig(vocab_size=len(ALPHABET), max_position_embeddings=CONTEXT, **SIZES)
    return from_hub.LlamaForCausalLM(config)


def adapted(folder: str, rank: int = 4) -> Any:
    """The base that lies in `folder`, frozen, with adapters of `rank` at all its linear layers."""
    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"there is no base model in {Path(folder).resolve()}: python examples/scripts/lora_base.py {folder}"
            " makes it"
        )
    from_hub, peft = installed("transformers"), installed("peft")
    model = from_hub.LlamaForCausalLM.from_pretrained(folder, local_files_only=True)
    return peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR))


def installed(name: str) -> Any:
    """A module of the extra `huggingface`. UserError when it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(EXTRA) from error


def prose() -> Tensor:
    """What the base learns, shape [windows, CONTEXT + 1]."""
    return windows(encode(topics(LEARNT)), CONTEXT)


def code(modules: Iterable[str] = CODE) -> Tensor:
    """Source code of the standard library, shape [windows, CONTEXT + 1]."""
    return windows(encode("".join(inspect.getsource(import_module(name)) for name in modules)), CONTEXT)


def next_character(model: nn.Module, text: Tensor) -> Tensor:
    """Mean cross entropy in nats of characters 1.. of each window, given those before them."""
    return F.cross_entropy(model(input_ids=text[:, :-1]).logits.flatten(0, 1), text[:, 1:].flatten())


@torch.no_grad()
def bits_per_character(model: nn.Module, text: Tensor) -> float:
    """What `model` needs for `text`, without dropout."""
    was_training = model.training
    model.eval()
    losses = [float(next_character(model, part)) * len(part) for part in torch.split(text, 256)]
    model.train(was_training)
    return sum(losses) / len(text) / math.log(2)
