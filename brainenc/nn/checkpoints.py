"""Where a training stands, in one file: ``checkpoint-<step>.safetensors`` = tensors, with counters as JSON in its head.

Parameters, optimiser state and counters are one file, written whole or not at all, so they never disagree. No random
state is needed: the loop of `training` derives all randomness from (seed, step). The two latest files are kept; where
the last is damaged the one before it stands in.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainenc.core.layout import existing
from brainenc.core.tensors import load_arrays, save_arrays
from brainenc.core.types import DataError

KEPT = 2


def tensors_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers by ``<module>/<name>``; they share the memory of the modules."""
    return {f"{name}/{key}": t for name, module in modules.items() for key, t in module.state_dict().items()}


def fill(modules: Mapping[str, nn.Module], values: Mapping[str, Tensor], owner: str) -> None:
    """Copy values into the modules in place.

    Raises
    ------
    DataError
        If names or shapes differ.
    """
    own = tensors_of(modules)
    if own.keys() != values.keys():
        odd = sorted(own.keys() ^ values.keys())
        raise DataError(f"{owner} has other tensors than the networks (first {odd[0]!r}): build them as they were.")
    for name, tensor in own.items():
        if tensor.shape != values[name].shape:
            came, wanted = tuple(values[name].shape), tuple(tensor.shape)
            raise DataError(f"{owner} holds {name!r} with shape {came}, the networks have {wanted}: build them alike.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(values[name])


def save_tensors(path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Write tensors with JSON ``counters`` in the head of the file, atomically."""
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    save_arrays(path, arrays, {"counters": json.dumps(counters)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote; a damaged file raises `DataError`."""
    from safetensors import safe_open

    arrays = load_arrays(path)
    with safe_open(str(path), framework="np") as file:
        head = (file.metadata() or {}).get("brainenc")
    if head is None:
        raise DataError(f"{path} holds no counters, wanted a checkpoint of the training loop: delete it.")
    counters = json.loads(json.loads(head)["counters"])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, counters


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step and drop all but the latest `KEPT`."""
    save_tensors(folder / f"checkpoint-{step:08d}.safetensors", tensors, counters)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the latest whole checkpoint of a folder; None where there is none.

    Raises
    ------
    DataError
        If there are checkpoints and all are damaged.
    """
    faults = []
    for path in reversed(checkpoints(folder)):
        try:
            found = load_tensors(existing(path))
        except DataError as error:
            faults.append(str(error))
            continue
        if faults:
            warnings.warn(f"{faults[0]} Going on from {path.name}.", stacklevel=2)
        return found
    if faults:
        raise DataError(
            f"{folder}: none of {len(faults)} checkpoints can be read (last one: {faults[0].rstrip('.')}): delete the "
            "folder and train anew."
        )
    return None
