"""Where arrays live: numpy, torch on the CPU, or torch on one CUDA device, and the few operations in which they differ.

numpy and torch share names for nearly all that is needed here (``xp.matmul(a, b, out=c)``), so that every equation is
written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from brainenc.core.types import DataError

DEVICES = ("auto", "cpu", "cuda", "numpy")
"""cuda and cpu compute with torch, "numpy" without it; "auto" takes cuda where there is one."""

SMALL = 1024
"""Largest eigendecomposition of which two are made at a time."""


@dataclass(frozen=True)
class Compute:
    """One place to compute: "numpy", "cpu" (torch), or "cuda:0" and so on."""

    device: str

    @property
    def xp(self) -> ModuleType:
        """The module whose functions take these arrays."""
        if self.device == "numpy":
            return np
        import torch

        return torch

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def put(self, array: Any, dtype: str = "float32") -> Any:
        """Return a numpy array, or an array of this place, here and in that precision."""
        if self.device == "numpy":
            return np.ascontiguousarray(array, dtype=dtype)
        import torch

        if not torch.is_tensor(array):
            array = torch.from_numpy(np.ascontiguousarray(array))
        return array.to(self.device, getattr(torch, dtype)).contiguous()

    def empty(self, *shape: int, dtype: str = "float32") -> Any:
        """Return an array to be filled."""
        if self.device == "numpy":
            return np.empty(shape, dtype)
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def add_product(self, D: Any, Q: Any, R: Any, factor: float = 1.0) -> None:
        """``D += factor * Q @ R`` in place."""
        if self.device == "numpy":
            D += factor * (Q @ R)
        else:
            D.addmm_(Q, R, alpha=factor)


def host(array: Any, dtype: str | None = "float64") -> np.ndarray:
    """Return an array of any place as numpy."""
    if not isinstance(array, np.ndarray):
        array = array.cpu().numpy()
    return np.asarray(array, dtype=dtype)


def places(device: str) -> list[Compute]:
    """Return where to compute for a user's device: one place, or every visible CUDA device.

    Raises
    ------
    DataError
        If the device is unknown, or CUDA is asked for and absent.
    """
    if device not in DEVICES:
        raise DataError(f"device is {device!r}, wanted one of {', '.join(DEVICES)}: fix the name.")
    if device == "numpy":
        return [Compute("numpy")]
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DataError("device is 'cuda' but torch finds no CUDA device here: use device='auto' or 'cpu'.")
    if has_cuda and device != "cpu":
        return [Compute(f"cuda:{k}") for k in range(torch.cuda.device_count())]
    return [Compute("cpu")]


def two_at_a_time(compute: Compute, work: Callable[[Any], Any], jobs: Sequence[Any], size: int) -> list[Any]:
    """Return ``[work(job) for job in jobs]``; on a CPU, jobs around a factorisation up to `SMALL` run in pairs.

    Each of a pair gets half of the threads.
    """
    if compute.device == "cpu" and len(jobs) > 1 and size <= SMALL:
        import torch

        n_threads = torch.get_num_threads()
        if n_threads > 1:
            torch.set_num_threads(n_threads // 2)
            try:
                with ThreadPoolExecutor(2) as pool:
                    return list(pool.map(work, jobs))
            finally:
                torch.set_num_threads(n_threads)
    return [work(job) for job in jobs]


def give_back_memory() -> None:
    """Return freed memory to the system, where the C library can be asked to: else it may keep what a plan has used."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def full_precision() -> Iterator[None]:
    """Float32 products in float32 for a while: TF32 keeps ten bits of them, which moves chosen penalties."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
