"""The optimiser of `training`: which parameters decay, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from brainenc.core.types import DataError


def decay_groups(modules: Mapping[str, nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: matrices and kernels, which decay, and all others, which do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in modules.values():
        embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_embedding = id(parameter) in embeddings or "embedding" in name.rpartition(".")[2]
            (free if parameter.ndim < 2 or is_embedding else decayed).append(parameter)
    if not seen:
        raise DataError(f"Training: {', '.join(modules) or 'no module'} came without trainable parameters: give some.")
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser by ``<index of the parameter>/<quantity>``."""
    state: Mapping[int, Mapping[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{index}/{key}": tensor for index, entry in state.items() for key, tensor in entry.items()}


def fill_optimiser(optimiser: torch.optim.Optimizer, values: Mapping[str, Tensor]) -> None:
    """Put the state of `optimiser_tensors` back; settings such as the learning rate stay those of the optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in values.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
