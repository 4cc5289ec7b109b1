"""A `HyperNetwork` in a file: our safetensors, and the two published formats, read as tensors and never as code.

    published .ckpt    a Lightning dictionary whose ``state_dict`` holds the tensors
    published .pth     the tensors alone
    ours               safetensors with the shape as JSON in its head

Sizes are read off the tensors; only the number of heads leaves no trace in them and has to be said (10 in all published
networks). Checkpoints: BraInCoRL, Yu et al. 2025, arXiv:2505.15813.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainenc.core.layout import existing
from brainenc.core.tensors import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.nn.hypernetwork import HyperNetwork, HyperShape

RESIDUAL = {"block.0": "norm", "block.3": "rise", "block.4": "norm_hidden", "block.7": "fall", "bypass": "bypass"}
ATTENTION = {
    "layer_norm_1": "norm",
    "layer_norm_2": "norm_gate",
    "attn.in_proj": "project_in",
    "attn.out_proj": "project_out",
    "ffn.linear1": "gate_in",
    "ffn.linear2": "gate_out",
}
PUBLISHED = re.compile(
    r"(early_layers|weight_pred)\.0\.(.+)\.(weight|bias)|transformer\.(\d+)\.(.+?)[._](weight|bias)|(cls_token)"
)


def save_network(path: Path | str, network: HyperNetwork) -> None:
    """Write a network as safetensors, its shape in the head, atomically."""
    arrays = {name: tensor.detach().float().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
    save_arrays(path, arrays, {"hyper_shape": json.dumps(asdict(network.shape))})


def load_network(path: Path | str, n_heads: int = 10) -> HyperNetwork:
    """Return the network of a file, in evaluation mode, on the processor.

    Parameters
    ----------
    path : ``.safetensors`` of `save_network`, or a published ``.ckpt`` or ``.pth``.
    n_heads : heads of a published network; our files know theirs.

    Raises
    ------
    DataError
        If the file is damaged, holds anything but tensors and plain values, or tensors of another network.
    """
    path = existing(path)
    if path.suffix == ".safetensors":
        shape, tensors = _ours(path)
    else:
        tensors = _renamed(_tensors(path), path)
        shape = _shape(tensors, n_heads, path)
    with torch.device("meta"):
        network = HyperNetwork(shape)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    odd = sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name))
    if odd:
        raise DataError(
            f"{path} holds {odd[0]} with shape {came.get(odd[0])}, wanted {wanted.get(odd[0])}: give a checkpoint of "
            "this network."
        )
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(True).eval()


def _ours(path: Path) -> tuple[HyperShape, dict[str, Tensor]]:
    from safetensors import safe_open

    arrays = load_arrays(path)
    with safe_open(str(path), framework="np") as file:
        head = json.loads((file.metadata() or {}).get("brainenc", "{}"))
    if "hyper_shape" not in head:
        raise DataError(f"{path} says no shape in its head, wanted a file of save_network: save the network with it.")
    shape = HyperShape(**json.loads(head["hyper_shape"]))
    return shape, {name: torch.from_numpy(array) for name, array in arrays.items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file; a file that wants to run code is refused."""
    try:
        with _paths_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds, its own, pickle's and zip's
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{path} cannot be read as tensors alone ({cause[0]}): download it again, or ask its author for a bare "
            "state_dict."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(
            f"{path} holds {type(content).__name__}, wanted named tensors: give a .ckpt or .pth of weights."
        )
    return {str(name): value.float() for name, value in content.items()}


def _paths_allowed() -> AbstractContextManager[Any]:
    """Let folder names through: Lightning keeps the training's arguments beside the weights, one of them a path."""
    allow = getattr(torch.serialization, "safe_globals", None)
    return nullcontext() if allow is None else allow([pathlib.PosixPath])


def _renamed(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Published names -> ours."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = PUBLISHED.fullmatch(name)
        ours = None
        if found and found[7]:
            ours, tensor = "token_embedding", tensor.reshape(tensor.shape[-2:])
        elif found and found[1] and found[2] in RESIDUAL:
            ours = f"{'early' if found[1] == 'early_layers' else 'head'}.{RESIDUAL[found[2]]}.{found[3]}"
        elif found and found[4] and found[5] in ATTENTION:
            ours = f"blocks.{found[4]}.{ATTENTION[found[5]]}.{found[6]}"
        if ours is None:
            raise DataError(f"{path} holds {name!r}, a name of no published network of this kind: give another file.")
        renamed[ours] = tensor
    return renamed


def _shape(tensors: dict[str, Tensor], n_heads: int, path: Path) -> HyperShape:
    """Sizes, read off the tensors."""
    blocks = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
    try:
        n_tokens, width = tensors["token_embedding"].shape
        embedding = len(tensors["early.norm.weight"]) - 1
        hidden = tensors["blocks.0.gate_out.weight"].shape[1]
    except KeyError as error:
        raise DataError(
            f"{path} lacks {error}, wanted all tensors of the network: give the whole checkpoint."
        ) from error
    return HyperShape(embedding, width, len(blocks), n_heads, hidden, n_tokens)
