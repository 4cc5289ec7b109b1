"""The matrix products and eigendecompositions of a computation, recorded once and done again with nothing around them.

What a computation takes beyond its replay is reading, standardising, elementwise work and bookkeeping.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Recorder(TorchDispatchMode):
    """Keep shape, strides and type of every operand of ``mm``, ``addmm`` and ``eigh`` on two or more dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[tuple[Any, ...], ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_", "_linalg_eigh"):
            tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
            self.calls.append((name, tuple((tuple(x.shape), x.stride(), x.dtype) for x in tensors)))
        return function(*arguments, **(options or {}))


def record(work: Callable[[], Any]) -> list[tuple[str, tuple[tuple[Any, ...], ...]]]:
    """Return the products and eigendecompositions that ``work()`` does."""
    recorder, n_threads = Recorder(), torch.get_num_threads()
    torch.set_num_threads(1)  # so that nothing is computed beside this thread, which alone is recorded
    try:
        with recorder:
            work()
    finally:
        torch.set_num_threads(n_threads)
    return recorder.calls


def replay(calls: list[tuple[str, tuple[tuple[Any, ...], ...]]]) -> float:
    """Do the calls again, operands and results made beforehand; return the seconds they take."""
    kept: dict[Any, torch.Tensor] = {}

    def operand(role: str, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        key = (role, shape, stride, dtype)
        if key not in kept:
            made = torch.empty_strided(shape, stride, dtype=dtype).normal_()
            kept[key] = made @ made.T if role == "symmetric" else made
        return kept[key]

    prepared: list[tuple[str, list[torch.Tensor]]] = []
    for name, operands in calls:
        if name == "_linalg_eigh":
            prepared.append((name, [operand("symmetric", *operands[0])]))
            continue
        a, b = (operand(role, *described) for role, described in zip(("left", "right"), operands[-2:], strict=True))
        n_columns = b.shape[1]
        prepared.append((name, [a, b, operand("result", (len(a), n_columns), (n_columns, 1), a.dtype)]))
    seconds = 0.0
    for name, tensors in prepared:
        start = time.perf_counter()
        if name == "_linalg_eigh":
            torch.linalg.eigh(tensors[0])
        elif name == "mm":
            torch.mm(tensors[0], tensors[1], out=tensors[2])
        else:
            tensors[2].addmm_(tensors[0], tensors[1], beta=0.0)
        seconds += time.perf_counter() - start
    return seconds
