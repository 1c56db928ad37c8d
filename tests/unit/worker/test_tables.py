"""A large or sparse embedding is named before the start, with its bytes a step: all of it travels."""

from __future__ import annotations

from torch import nn

from asgd.worker.device.tables import warnings


def test_a_sparse_table_is_named_with_its_shape_and_bytes() -> None:
    model = nn.Sequential(nn.Embedding(50_000, 16, sparse=True), nn.Linear(16, 1))
    (said,) = warnings(model)
    assert said.startswith("0.weight is a sparse embedding of 50,000 x 16") and "3.2 MB" in said


def test_a_dense_table_is_named_where_it_is_large_and_small_or_frozen_ones_are_not() -> None:
    large = nn.Embedding(1 << 20, 16, device="meta")
    assert len(warnings(nn.ModuleDict({"table": large, "small": nn.Embedding(100, 16)}))) == 1
    large.weight.requires_grad_(False)
    assert warnings(large) == []
