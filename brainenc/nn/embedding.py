"""Embeddings of pictures by a network that lies in a folder: what subjects planted on a network are driven by.

The folder is one that timm or open_clip writes: a configuration and weights as safetensors. The embedding is what comes
before the classifier of timm, or the joint space of open_clip, not normalised. Pictures pass one at a time on one
thread of the processor, so that an embedding is decided by its picture alone, whatever else is asked for.

Sources: Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861; Ilharco et al. 2021, OpenCLIP,
doi:10.5281/zenodo.5143773.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.types import DataError

CONFIGURATIONS = {"open_clip": "open_clip_config.json", "timm": "config.json"}


def network_library(folder: Path) -> str:
    """``open_clip`` or ``timm``, by the files of a folder.

    Raises
    ------
    DataError
        There is no such folder, or it misses the configuration or the weights.
    """
    if not folder.is_dir():
        raise DataError(f"network {str(folder)!r} is no folder: pass one that timm or open_clip wrote.")
    for library, name in CONFIGURATIONS.items():
        if (folder / name).is_file() and any(folder.glob("*.safetensors")):
            return library
    wanted = " or ".join(CONFIGURATIONS.values())
    raise DataError(f"network {str(folder)!r} lacks {wanted}, or weights as safetensors: save the network there anew.")


@dataclass(frozen=True, eq=False)
class PictureEmbedder:
    """A network in eval mode and what it wants of pictures.

    Parameters
    ----------
    network : torch module
        Input (n, 3, size, size) -> embeddings (n, n_channels).
    size : int
        Side of its input, in pixels.
    mean, std : tuple of float
        Per channel, of pixels in 0..1.
    """

    network: Any
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Embed whole pictures, squeezed to the input's size: (n, height, width, 3) uint8 -> (n, n_channels) float32.

        Raises
        ------
        DataError
            Pictures of another kind, or embeddings that are not finite numbers.
        """
        import torch

        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            raise DataError(
                f"embedding: got {pictures.dtype} pictures of shape {pictures.shape}, wanted uint8 "
                "(n, height, width, 3): convert them to RGB."
            )
        with torch.no_grad(), _one_thread():
            rows = [self.network(self._input(picture))[0].numpy() for picture in pictures]
        embedded = np.stack(rows).astype(np.float32)
        if not np.isfinite(embedded).all():
            raise DataError("embedding: the network gives NaN or infinity: train it anew or use another.")
        return embedded

    def _input(self, picture: np.ndarray) -> Any:
        import torch
        from torch.nn.functional import interpolate

        image = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
        if image.shape[2:] != (self.size, self.size):
            image = interpolate(image, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)
        mean, std = (image.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (image - mean) / std


def load_embedder(folder: Path) -> PictureEmbedder:
    """Load the network that lies in ``folder``, on the processor, float32, weights frozen.

    Raises
    ------
    DataError
        No such network, or one that its library cannot read.
    """
    import torch

    from brainenc.nn.torchvision_shim import ensure_torchvision

    library = network_library(folder)
    ensure_torchvision()
    try:
        with torch.random.fork_rng(devices=[]):
            return _open_clip(folder) if library == "open_clip" else _timm(folder)
    except Exception as error:  # both libraries and torch raise their own kinds
        first = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"network {str(folder)!r} cannot be read by {library} ({type(error).__name__}: {first}): save it anew."
        ) from error


def _open_clip(folder: Path) -> PictureEmbedder:
    import open_clip

    tower: Any = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True, device="cpu").visual
    stated = tower.preprocess_cfg
    size = stated["size"]
    tower.float().eval().requires_grad_(False)
    return PictureEmbedder(
        tower, size if isinstance(size, int) else size[0], tuple(stated["mean"]), tuple(stated["std"])
    )


def _timm(folder: Path) -> PictureEmbedder:
    import timm

    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    stated = network.pretrained_cfg
    network.float().eval().requires_grad_(False)
    return PictureEmbedder(network, stated["input_size"][1], tuple(stated["mean"]), tuple(stated["std"]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the number of threads outside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
