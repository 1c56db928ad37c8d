"""Staging buffers lie where they are told to, so that shared memory is pushed and pulled without a copy."""

from __future__ import annotations

import numpy as np
import torch

from asgd.worker.device.accelerator import Staging


def test_on_the_cpu_a_staging_buffer_is_the_memory_that_was_given() -> None:
    memory = np.zeros(8, np.float32)
    staging = Staging(8, torch.device("cpu"), memory)
    assert staging.host is memory
    assert staging.copy(torch.arange(8.0)) is memory
    assert memory.tolist() == list(range(8))
    memory[3] = 7
    assert staging.on_device()[3] == 7


def test_without_memory_of_others_it_has_its_own() -> None:
    staging = Staging(8, torch.device("cpu"))
    assert staging.copy(torch.ones(8)) is staging.host
    vector = torch.full((8,), 2.0)
    assert np.shares_memory(staging.out(vector), vector.numpy())
