"""Images as tensors: reading any common file into colour in 0..1, and the one differentiable preprocessing.

Resizing is antialiased (the kernel is widened by the scale when shrinking), as in Pillow; bicubic uses a = -0.5.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError, StimulusSet
from brainenc.features.rows import require_column

if TYPE_CHECKING:
    import torch

BACKGROUND = 128  # the grey, of 255, that shows through transparent pixels


def check_images(name: str, stimuli: StimulusSet) -> None:
    """Raise `DataError` naming the first stimulus whose ``path`` is missing or is not an image."""
    from PIL import Image

    require_column(name, stimuli, "path")
    for stimulus_id, path in stimuli.table["path"].items():
        if not Path(path).is_file():
            raise DataError(
                f"feature space {name!r}: the image {path!r} of stimulus {stimulus_id!r} does not exist: correct its "
                "path in the stimulus table or restore the file."
            )
        try:
            with Image.open(path) as image:
                image.verify()
        except Exception as error:  # Pillow raises many kinds for a broken file
            raise DataError(
                f"feature space {name!r}: the file {path!r} of stimulus {stimulus_id!r} is not an image that opens "
                f"({type(error).__name__}): replace it by a whole PNG, JPEG, TIFF or WebP file."
            ) from error


def _to_rgb(image: Any) -> np.ndarray:
    """Pillow image of any mode -> (height, width, 3) float32 in 0..1."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        scale = 1.0 if image.mode == "F" else 65535.0
        values = values / scale
        if values.min() < 0 or values.max() > 1:
            raise DataError(f"pixel values span {values.min():g} to {values.max():g} of full scale, wanted 0 to 1")
        return np.repeat(values[..., None], 3, axis=2)
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,)), image)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0


def load_image(path: str | Path) -> torch.Tensor:
    """Read one image file as (3, height, width) float32 in 0..1, upright.

    Grey becomes three equal channels; palettes are looked up; transparent pixels show mid grey; 16-bit integers are
    divided by 65535; the orientation of EXIF is applied.

    Raises
    ------
    DataError
        The file cannot be decoded.
    """
    import torch
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            pixels = _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # truncated files fail only here, in many ways
        raise DataError(
            f"the image {str(path)!r} cannot be read ({error}): replace it by a whole 8- or 16-bit image."
        ) from error
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, normalise: ``(crop(resize(images)) - mean) / std``.

    Parameters
    ----------
    size : int
        Side in pixels of the square the network sees.
    mean, std : tuple of float
        Per channel, in units of images in 0..1.
    crop_fraction : float
        Share of the resized side that the crop keeps, in (0, 1].
    interpolation : {"bicubic", "bilinear"}
    resize_mode : {"shortest", "squash"}
        Bring the shorter side to ``size / crop_fraction`` and crop, or bring both sides there.
    """

    size: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        checks = {
            "size": (isinstance(self.size, int) and self.size > 0, "a positive number of pixels"),
            "mean": (len(self.mean) == 3, "three numbers"),
            "std": (len(self.std) == 3 and min(self.std) > 0, "three positive numbers"),
            "crop_fraction": (0 < self.crop_fraction <= 1, "a number above 0, at most 1"),
            "interpolation": (self.interpolation in ("bicubic", "bilinear"), "'bicubic' or 'bilinear'"),
            "resize_mode": (self.resize_mode in ("shortest", "squash"), "'shortest' or 'squash'"),
        }
        for key, (good, wanted) in checks.items():
            if not good:
                raise DataError(f"preprocessing: {key} is {getattr(self, key)!r}, wanted {wanted}: correct it.")

    @property
    def load_size(self) -> int:
        """Side in pixels of the square before the crop."""
        return math.floor(self.size / self.crop_fraction)

    def to_dict(self) -> dict[str, Any]:
        """The arguments, for a fingerprint."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def fit(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images (batch, 3, height, width) in 0..1 to a square of `load_size` pixels, with gradient.

        Bicubic overshoot is clamped to 0..1, as in 8-bit images; images that have the size already pass untouched.
        """
        from torch.nn.functional import interpolate

        side, (height, width) = self.load_size, images.shape[-2:]
        if (height, width) == (side, side):
            return images
        if self.resize_mode == "shortest":
            scale = side / min(height, width)
            target = (max(side, int(height * scale + 1e-6)), max(side, int(width * scale + 1e-6)))
        else:
            target = (side, side)
        if target != (height, width):
            images = interpolate(images, target, mode=self.interpolation, antialias=True, align_corners=False)
            images = images.clamp(0, 1)
        return centre_crop(images, side)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (batch, 3, height, width) in 0..1 -> network input (batch, 3, size, size), with gradient."""
        images = centre_crop(self.fit(images), self.size)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std


def centre_crop(images: torch.Tensor, side: int) -> torch.Tensor:
    """Central square of (..., height, width), rounding the odd pixel to the top left as torchvision does."""
    top, left = (round((length - side) / 2) for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]
