"""Targets in blocks: what is computed per target and sample is made, used and forgotten, block by block.

While gradients are recorded each block but a single one is a checkpoint (Chen et al. 2016, arXiv:1604.06174): it is
computed again on the way back, with the same random numbers. So the memory of a step holds one block of intermediate
values beside the parameters, which grow linearly with the targets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from brainenc.core.types import DataError


def by_blocks(part: Callable[[slice], Tensor], n_targets: int, targets_per_block: int) -> Tensor:
    """Return the parts of all targets side by side.

    Parameters
    ----------
    part : targets (a slice) -> (n_samples, n_targets in the slice, ...)
    n_targets, targets_per_block : int

    Raises
    ------
    DataError
        If a block would hold nothing.
    """
    if targets_per_block < 1 or n_targets < 1:
        raise DataError(f"Blocks of {targets_per_block} of {n_targets} targets came, wanted 1 or more: change it.")
    blocks = [
        slice(start, min(start + targets_per_block, n_targets)) for start in range(0, n_targets, targets_per_block)
    ]
    if len(blocks) == 1:
        return part(blocks[0])
    if not torch.is_grad_enabled():
        return torch.cat([part(block) for block in blocks], dim=1)
    parts = [checkpoint(part, block, use_reentrant=False) for block in blocks]
    return torch.cat(parts, dim=1)
