"""Whether a script can join its job, found out by reading it: one that can not would train alone, N times."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from asgd.errors import UserError

_LOADERS = {"importlib", "runpy", "exec", "eval", "__import__", "execfile"}
"""Who uses these may run anything."""

_STRANGERS = {
    "PIL", "accelerate", "albumentations", "cv2", "datasets", "einops", "huggingface_hub", "lightning", "matplotlib",
    "numpy", "pandas", "safetensors", "scipy", "sklearn", "tensorboard", "timm", "tokenizers", "torch", "torchaudio",
    "torchtext", "torchvision", "tqdm", "transformers", "wandb", "yaml",
}  # fmt: skip
"""Packages that know nothing of asgd."""


def refuse_unconnected(entrypoint: str, tree: ast.Module, folders: Sequence[Path]) -> None:
    """Raises UserError when neither the script `tree` nor anything of the user's that it imports can know of asgd.

    `folders`: where the user's own files lie.
    """
    names = set(_names(tree))
    if "asgd" in names or names & _LOADERS or any(_may_know(name, folders) for name in _imported(tree)):
        return
    raise UserError(
        f"spec.entrypoint: {entrypoint} does not import asgd, so it would train alone in each worker; allowed: a script"
        " that calls asgd.connect(model, optimizer), or file.py:callable that returns an asgd.Task"
    )


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
    yield from _imported(tree)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Top names of all modules that it imports somewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def _may_know(name: str, folders: Sequence[Path]) -> bool:
    """Whether the module may be of the user's own, and call asgd."""
    if any((folder / name).is_dir() or (folder / f"{name}.py").is_file() for folder in folders):
        return True
    return name not in sys.stdlib_module_names and name not in _STRANGERS
