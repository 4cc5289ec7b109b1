"""Pocket networks: small real networks trained on the embedded world, weights inside the package.

They are the offline stand-ins of the full-size networks, loaded through the same calls of the same libraries. Each
has a page here and is made anew by ``brainenc train-pocket NAME``; its folder holds weights, ``card.json`` (data,
recipe, minutes, scores) and ``CARD.md``. A page offers one function, which leaves the files in ``out/<name>``::

    make(name, out, cache, steps=None, resume=False, device="cpu") -> brainenc.pocket.cards.Made

Importing this package imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainenc.core.types import DataError


@dataclass(frozen=True)
class PocketNetwork:
    """What a pocket network is, the library that loads its folder, and the page that trains it."""

    about: str
    library: str
    page: str


NETWORKS: dict[str, PocketNetwork] = {
    "pocket-clip": PocketNetwork("images and captions in one space, ResNet", "open_clip", "train_clip"),
    "pocket-clip-b": PocketNetwork("the same, other architecture and seed: a judge", "open_clip", "train_clip"),
    "pocket-text": PocketNetwork("sentence encoder: the text tower of pocket-clip", "transformers", "text_encoder"),
    "pocket-net": PocketNetwork("image network that names content and attributes", "timm", "train_net"),
    "pocket-net-ssl": PocketNetwork("image network trained without labels", "timm", "train_net"),
    "pocket-diffusion": PocketNetwork("images from text, in a latent space", "diffusers", "train_diffusion"),
    "pocket-captioner": PocketNetwork("captions from embeddings of pocket-clip", "transformers", "train_captioner"),
}


def check_name(name: str) -> str:
    """``name`` if it is a pocket network, else `DataError`."""
    if name not in NETWORKS:
        raise DataError(f"Pocket network {name!r} is unknown: use one of {', '.join(NETWORKS)}.")
    return name


def folder(name: str) -> Path:
    """Folder of the shipped files of a pocket network.

    Raises
    ------
    DataError
        Unknown name, or an installation without its files.
    """
    path = Path(__file__).parent / "weights" / check_name(name)
    if not (path / "card.json").is_file():
        raise DataError(
            f"Pocket network {name!r} has no files in {path}: install brainenc anew, or run brainenc train-pocket "
            f"{name} and put its folder there."
        )
    return path
