"""The picture itself, brought to one size: what an encoder with its own convolutional core is trained on."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from brainenc.features.base import ImageNetworkExtractor
from brainenc.features.images import Preprocessing

if TYPE_CHECKING:
    import torch


class PixelsExtractor(ImageNetworkExtractor):
    """Colours in 0..1: (batch, size, size, 3).

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    size : int
        Side in pixels to which images are brought (shorter side, then central square).
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "pixels"

    def __init__(self, name: str, size: int = 64, device: str = "auto") -> None:
        super().__init__(name, {"size": size}, device)
        Preprocessing(size=size)  # refuses an impossible size at once

    @cached_property
    def network(self) -> None:
        """There are no weights."""
        return None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Resize to ``size``; the values stay in 0..1."""
        return Preprocessing(size=self.arguments["size"])

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Images (batch, 3, size, size) -> (batch, size, size, 3)."""
        return inputs.permute(0, 2, 3, 1)
