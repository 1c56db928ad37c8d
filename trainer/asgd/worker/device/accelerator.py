"""Where a worker computes: CPU or CUDA by the same path, with staging buffers between the device and the wire.

On the CPU the staging buffer is the vector itself, nothing is copied. On a GPU it is pinned host memory and copies run
on a stream of their own; this part has never run on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from asgd.errors import UserError
from asgd.host.available import limited_cores
from asgd.host.threads import threads_told
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.worker.reading.nested import map_arrays


def choose_devices(count: int, index: int) -> list[torch.device]:
    """The devices of worker `index` when each asks for `count`; workers on one machine share what there is.

    Raises UserError when PyTorch sees fewer than `count`.
    """
    if count == 0:
        return [torch.device("cpu")]
    visible = torch.cuda.device_count()
    if visible < count:
        seen = f"only {visible} CUDA device{'s' if visible > 1 else ''}" if visible else "no CUDA device"
        raise UserError(
            f"spec.workers.devices.count: {count} asked for, but PyTorch sees {seen} here; allowed:"
            f" {f'0 to {visible}' if visible else '0'}"
        )
    return [torch.device("cuda", (index * count + number) % visible) for number in range(count)]


def choose_device(count: int, index: int) -> torch.device:
    """The first of them."""
    return choose_devices(count, index)[0]


def limit_threads(spec: JobSpec) -> int:
    """As many threads as are this process's share of the cores, unless users' code has set a number of its own.

    Returns how many there are now.
    NB: more threads than cores are over 100 times slower: they spin. Twice is no harm, nor after users' code.
    """
    global _threads
    if torch.get_num_threads() == _threads:
        _threads = threads_told(spec, os.environ) or limited_cores() or 1
        torch.set_num_threads(_threads)
    return torch.get_num_threads()


_threads = torch.get_num_threads()
"""What torch began with, or was told here: another number is the user's."""


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with all its tensors on `device`."""
    if device.type == "cpu":
        return batch
    return map_arrays(batch, lambda a: a.to(device, non_blocking=True) if isinstance(a, torch.Tensor) else a)


class Staging:
    """A host buffer of N float32 beside a device vector: `out` fills it, `on_device` copies it to the device.

    `host`: memory to use for it where no device needs pinned memory.
    """

    def __init__(self, size: int, device: torch.device, host: F32 | None = None) -> None:
        self._device = device
        pinned = device.type == "cuda"
        if host is not None and not pinned:
            self.tensor = torch.from_numpy(host)
        else:
            self.tensor = torch.empty(size, dtype=torch.float32, pin_memory=pinned)
        self.host: F32 = np.asarray(self.tensor.numpy()) if host is None or pinned else host
        self._stream = torch.cuda.Stream(device) if pinned else None  # type: ignore[no-untyped-call]
        self._there = torch.empty(size, dtype=torch.float32, device=device) if pinned else self.tensor

    def out(self, vector: torch.Tensor) -> F32:
        """The vector's values in host memory: its own memory on the CPU, this buffer otherwise."""
        if self._stream is None:
            return np.asarray(vector.numpy())
        return self.copy(vector)

    def place(self, vector: torch.Tensor) -> F32:
        """Where `out` and `begin` leave the vector's values."""
        return np.asarray(vector.numpy()) if self._stream is None else self.host

    def follow(self) -> None:
        """The next `begin` comes after what this thread has given the device until now."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def begin(self, vector: torch.Tensor, span: slice) -> torch.cuda.Event | None:
        """Begins to copy a part of the vector; it is there when the event has passed, at once when there is none.

        NB: the device goes on meanwhile, so nobody may write to that part before.
        """
        if self._stream is None:
            return None
        self.follow()
        with torch.cuda.stream(self._stream):
            self.tensor[span].copy_(vector[span], non_blocking=True)
            there: torch.cuda.Event = self._stream.record_event()
        return there

    def figure(self, value: torch.Tensor) -> Callable[[], float]:
        """A function that waits for `value` () and gives it; this call does not wait."""
        value = value.detach()
        if self._stream is None:
            return lambda: float(value)
        pinned = torch.empty((), dtype=value.dtype, pin_memory=True)
        self.follow()
        with torch.cuda.stream(self._stream):
            pinned.copy_(value, non_blocking=True)
            there = self._stream.record_event()
        # NB: the allocator must not hand the loss's memory to the next kernel before it is copied.
        value.record_stream(self._stream)

        def known() -> float:
            there.synchronize()
            return float(pinned)

        return known

    def copy(self, vector: torch.Tensor) -> F32:
        """The vector's values in this buffer, where the next step cannot change them."""
        if self._stream is None:
            self.tensor.copy_(vector)
            return self.host
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self.tensor.copy_(vector, non_blocking=True)
        self._stream.synchronize()
        return self.host

    def on_device(self) -> torch.Tensor:
        """This buffer's values as a tensor where the model is; valid until the next call."""
        if self._stream is not None:
            # NB: what still reads the last values goes first, and the host's may change as soon as this returns.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                self._there.copy_(self.tensor, non_blocking=True)
            self._stream.synchronize()
        return self._there
