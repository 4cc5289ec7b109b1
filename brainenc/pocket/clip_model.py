"""The two pocket CLIPs: how they are built, the folder that open_clip loads, and embeddings of images and texts.

A folder holds ``open_clip_config.json``, ``open_clip_model.safetensors`` and the tokenizer, so
``open_clip.create_model_and_transforms("local-dir:FOLDER")`` needs nothing of ours.

Sources: Radford et al. 2021, arXiv:2103.00020; Ilharco et al. 2021, OpenCLIP, doi:10.5281/zenodo.5143773.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainenc.core.storage import save_arrays, write_json
from brainenc.core.types import DataError
from brainenc.pocket.tokenizer import encode, load_tokenizer, save_tokenizer

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


@dataclass(frozen=True)
class Design:
    """Shape of a CLIP: two towers as open_clip's configuration names them, and the layer whose map is its tokens."""

    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    embedding_width: int
    token_layer: str


DESIGNS: dict[str, Design] = {
    "pocket-clip": Design(
        {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
        {"width": 128, "heads": 4, "layers": 3},
        128,
        "layer3",
    ),
    "pocket-clip-b": Design(
        {"image_size": 64, "timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"},
        {"width": 96, "heads": 3, "layers": 2},
        96,
        "trunk.layer3",
    ),
}


def configuration(design: Design, tokenizer: Any) -> dict[str, Any]:
    """What ``open_clip_config.json`` says."""
    words = {
        "context_length": tokenizer.model_max_length,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "pocket",
        **design.text,
    }
    towers = {"embed_dim": design.embedding_width, "vision_cfg": dict(design.vision), "text_cfg": words}
    pictures = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "shortest"}
    return {"model_cfg": towers, "preprocess_cfg": pictures}


def build(design: Design, tokenizer: Any) -> nn.Module:
    """Return an untrained CLIP; seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from open_clip.model import CLIP

    model: nn.Module = CLIP(**configuration(design, tokenizer)["model_cfg"])
    model.visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def save_clip(model: nn.Module, design: Design, tokenizer: Any, folder: Path) -> None:
    """Write the folder: matrices and kernels in half precision, biases, norms and their statistics in full."""
    arrays = {}
    for name, tensor in model.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        arrays[name] = (values.half() if values.is_floating_point() and values.ndim > 1 else values).numpy()
    save_arrays(folder / WEIGHTS, arrays)
    write_json(folder / CONFIG, configuration(design, tokenizer))
    save_tokenizer(tokenizer, folder)


def load_clip(folder: Path) -> tuple[nn.Module, Any]:
    """Read model and tokenizer as every user of open_clip does; float32, eval mode, weights frozen.

    Raises
    ------
    DataError
        The folder holds no open_clip model.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder} holds no CLIP, wanted {CONFIG} and {WEIGHTS}: point at a trained one.")
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.float().eval().requires_grad_(False), load_tokenizer(folder)


def as_input(images: np.ndarray) -> Tensor:
    """Images (n, size, size, 3) uint8 -> (n, 3, size, size) float32, normalised as CLIP wants it."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    mean, std = (255 * torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return pixels.sub_(mean).div_(std)


def embed_images(model: nn.Module, images: np.ndarray, batch_size: int = 250) -> Tensor:
    """Unit embeddings (n, embedding_width) of images (n, size, size, 3) uint8, on the processor."""
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [
            model.encode_image(as_input(images[i : i + batch_size]).to(device), normalize=True).float().cpu()  # type: ignore[operator]
            for i in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def embed_texts(model: nn.Module, tokenizer: Any, texts: Sequence[str], batch_size: int = 500) -> Tensor:
    """Unit embeddings (n, embedding_width) of texts, on the processor."""
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [
            model.encode_text(encode(tokenizer, texts[i : i + batch_size]).to(device), normalize=True).float().cpu()  # type: ignore[operator]
            for i in range(0, len(texts), batch_size)
        ]
    return torch.cat(parts)


def token_maps(model: nn.Module, layer: str, images: np.ndarray, batch_size: int = 250) -> Tensor:
    """Output of a layer of the image tower, (n, n_channels, rows, columns), on the processor."""
    visual: Any = model.visual
    caught: list[Tensor] = []
    handle = visual.get_submodule(layer).register_forward_hook(lambda _, __, out: caught.append(out.float().cpu()))
    try:
        embed_images(model, images, batch_size)
    finally:
        handle.remove()
    return torch.cat(caught)
