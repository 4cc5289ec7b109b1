"""The contract of every extractor that looks at images.

A backbone is one differentiable function of images in 0..1: ``forward(images) = network(preprocess(images))``. The same
function extracts features for an encoder and carries the gradient back to the pixels when images are synthesised, so
the two can never disagree about preprocessing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError, StimulusSet
from brainenc.features.images import Preprocessing, check_images, load_image
from brainenc.features.rows import RowBatches, versions

if TYPE_CHECKING:
    import torch


class ImageNetworkExtractor(ABC):
    """Images -> features through one differentiable function; abstract.

    A subclass gives ``preprocessing`` (a `Preprocessing`), ``network`` (a torch module in eval mode, or None for a
    fixed filter bank), `compute` (prepared input -> features), and the names of its packages.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    arguments : mapping
        The constructor's arguments, written into the fingerprint.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name: str
    packages: tuple[str, ...] = ("torch",)

    def __init__(self, name: str, arguments: Mapping[str, Any], device: str) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.device_name = device

    @cached_property
    @abstractmethod
    def network(self) -> torch.nn.Module | None:
        """The backbone, in eval mode on its device; None for a fixed filter bank."""

    @cached_property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """What stands between an image in 0..1 and the network's input."""

    @abstractmethod
    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Network input (batch, 3, height, width) -> features (batch, *axes, n_channels), differentiable."""

    # -- one differentiable function ----------------------------------------------------------------------------

    def preprocess(self, images: torch.Tensor) -> torch.Tensor:
        """Resize (antialiased), crop and normalise images (batch, 3, height, width) in 0..1, with gradient."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise DataError(
                f"feature space {self.name!r}: images have shape {tuple(images.shape)}, wanted (batch, 3, height, "
                "width) in 0..1: stack colour images, channels first."
            )
        return self.preprocessing(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (batch, 3, height, width) in 0..1 -> features (batch, *axes, n_channels), with gradient.

        The images are brought to the network's device and precision; a filter bank keeps their precision.
        """
        from brainenc.nn.device import choose_device

        if self.network is None:
            return self.compute(self.preprocess(images.to(choose_device(self.device_name))))
        weight = next(self.network.parameters())
        return self.compute(self.preprocess(images.to(weight.device, weight.dtype)))

    # -- from files to rows -------------------------------------------------------------------------------------

    def load_images(self, paths: Sequence[str]) -> torch.Tensor:
        """Read image files into one tensor (batch, 3, height, width), float32 in 0..1.

        Every image is brought to the size that `preprocess` expects before its crop, each by itself, so a row depends
        on its file alone. Grey, palette, 16-bit and transparent images are understood (see `images.load_image`).
        """
        import torch

        return torch.stack([self.preprocessing.fit(load_image(path)[None])[0] for path in paths])

    def check(self, stimuli: StimulusSet) -> None:
        """Raise `DataError` unless every stimulus has an image file that opens; no network is built."""
        check_images(self.name, stimuli)

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> RowBatches:
        """Iterate over (batch, *axes, n_channels) float32 in row order; everything is checked before the first batch.

        Raises
        ------
        DataError
            A missing file, a file that is no image, a layer that does not exist, NaN in the output.
        """
        self.check(stimuli)
        batches = RowBatches(self.name, stimuli, batch_size, self._extract_batch)
        _ = self.shape  # builds the network, so that a wrong layer or checkpoint is refused here
        return batches

    def _extract_batch(self, part: StimulusSet) -> np.ndarray:
        from brainenc.nn.device import repeatable_inference

        with repeatable_inference():
            images = self.load_images(part.table["path"].tolist())
            if self.network is not None:
                self.network.eval()
            return self.forward(images).float().cpu().numpy()

    # -- what comes out -----------------------------------------------------------------------------------------

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, ``(*axes, n_channels)``, found with a single grey image."""
        import torch

        from brainenc.features.weights import first_line
        from brainenc.nn.device import repeatable_inference

        size = self.preprocessing.load_size
        try:
            with repeatable_inference():
                features = self.forward(torch.full((1, 3, size, size), 0.5))
        except DataError:
            raise
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise DataError(
                f"feature space {self.name!r}: the network refuses an image of {self.preprocessing.size} pixels "
                f"({first_line(error)}): use the size it was built for."
            ) from error
        if features.ndim < 2 or features.shape[0] != 1:
            raise DataError(
                f"feature space {self.name!r}: one image gave an array of shape {tuple(features.shape)}, wanted "
                "(1, ..., n_channels): this layer does not keep images on its first axis, choose another."
            )
        return tuple(features.shape[1:])

    @property
    def n_channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]

    def row_shape(self, stimuli: StimulusSet) -> tuple[int, ...]:
        """Shape of one row; an image network's does not depend on the stimuli."""
        return self.shape

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers: class, arguments, preprocessing, checksum of the weights, versions."""
        from brainenc.features.weights import hash_weights

        return {
            "class": self.class_name,
            "arguments": self.arguments,
            "preprocessing": self.preprocessing.to_dict(),
            "weights_sha256": None if self.network is None else hash_weights(self.network),
            "versions": versions("brainenc", "pillow", *self.packages),
        }
