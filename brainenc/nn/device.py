"""Where and how a network runs: the device, and the settings under which its numbers repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """Return the torch device ``name``; ``"auto"`` is the GPU where there is one, else the processor.

    Raises
    ------
    DataError
        Unknown name, or a GPU that is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DataError(f"device {name!r} is unknown: use 'auto', 'cpu', 'cuda' or 'cuda:0'.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(
            f"device {name!r}: this torch sees no GPU: use 'auto' or 'cpu', or install a CUDA build of torch."
        )
    return device


@contextmanager
def repeatable_inference() -> Iterator[None]:
    """Run without gradient, in full float32 (no TF32) and with deterministic convolutions; restores all settings."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with (
            torch.no_grad(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        matmul.allow_tf32 = before
