r"""Multi-scale contrast energy: what early visual cortex responds to, in one Fourier transform per filter.

For luminance contrast :math:`c` (luminance minus its mean over the image), orientation :math:`\theta` and frequency
:math:`f` in cycles per image, the filter is one Gaussian lobe in the frequency plane,

.. math:: H_{f\theta}(u) = 2 \exp\left(-\|u - f(\cos\theta, \sin\theta)\|^2 / 2(bf)^2\right),

so the filtered image is analytic and :math:`|F^{-1}[H F[c]]|^2` is the energy of a quadrature pair, which does not
depend on phase (:math:`H(0) = 0`). The feature is the square root of the mean energy over each cell of a grid; it is
differentiable. The image is continued by reflection over a quarter of its side, so that opposite edges do not meet.
Source: Adelson & Bergen 1985, doi:10.1364/JOSAA.2.000284.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from brainenc.core.types import DataError
from brainenc.features.base import ImageNetworkExtractor
from brainenc.features.images import Preprocessing

if TYPE_CHECKING:
    import torch

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLOOR = 1e-10  # added to the energy, so that the root has a gradient on a blank image


def energy_filters(
    size: int, padded: int, n_orientations: int, frequencies: Sequence[float], bandwidth: float
) -> np.ndarray:
    """Transfer functions, shape (n_filters, padded, padded) float64, frequency by frequency, orientations within.

    Parameters
    ----------
    size, padded : int
        Side in pixels of the image, and of the image with its margins; axes are those of ``numpy.fft.fft2`` (rows y,
        downwards, then columns x).
    n_orientations : int
        ``theta = pi k / n_orientations``; 0 is modulation along x, that is vertical stripes.
    frequencies : sequence of float
        Cycles per image.
    bandwidth : float
        Standard deviation of the lobe as a share of its frequency.
    """
    cycles = np.fft.fftfreq(padded, 1 / size)  # per image
    v, u = np.meshgrid(cycles, cycles, indexing="ij")
    theta = np.pi * np.arange(n_orientations) / n_orientations
    f = np.repeat(np.asarray(frequencies, dtype=float), n_orientations)[:, None, None]
    angle = np.tile(theta, len(frequencies))[:, None, None]
    distance = (u - f * np.cos(angle)) ** 2 + (v - f * np.sin(angle)) ** 2
    filters = 2 * np.exp(-distance / (2 * (bandwidth * f) ** 2))
    filters[:, 0, 0] = 0
    return filters


class GaborExtractor(ImageNetworkExtractor):
    """Root mean contrast energy on a grid: (batch, grid, grid, n_filters).

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    n_orientations : int
        Evenly spaced over half a turn, from vertical stripes.
    frequencies : sequence of float
        Cycles per image; the default, 5.12 and 12.8, is 0.08 and 0.2 cycles per pixel of a 64-pixel image.
    bandwidth : float
        Standard deviation of a filter as a share of its frequency.
    grid : int
        Cells along each side; a divisor of ``size``.
    size : int
        Side in pixels to which images are brought (shorter side, then central square). Must carry the highest
        frequency: ``f (1 + bandwidth) <= size / 2``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "gabor"

    def __init__(
        self,
        name: str,
        n_orientations: int = 4,
        frequencies: Sequence[float] = (5.12, 12.8),
        bandwidth: float = 0.45,
        grid: int = 8,
        size: int = 64,
        device: str = "auto",
    ) -> None:
        frequencies = tuple(float(f) for f in frequencies)
        arguments = {
            "n_orientations": n_orientations,
            "frequencies": list(frequencies),
            "bandwidth": bandwidth,
            "grid": grid,
            "size": size,
        }
        super().__init__(name, arguments, device)
        owner = f"feature space {name!r}"
        if not frequencies or min(frequencies) <= 0 or n_orientations < 1 or bandwidth <= 0:
            raise DataError(
                f"{owner}: n_orientations={n_orientations}, frequencies={frequencies}, bandwidth={bandwidth}, wanted "
                "at least one of each and all positive: correct them."
            )
        if grid < 1 or size % grid:
            raise DataError(f"{owner}: grid is {grid}, wanted a divisor of size {size}: change one of them.")
        highest = max(frequencies) * (1 + bandwidth)
        if highest > size / 2:
            raise DataError(
                f"{owner}: frequency {max(frequencies):g} cycles/image reaches {highest:g}, but {size} pixels carry "
                f"only {size / 2:g}: set size to at least {int(np.ceil(2 * highest / grid) * grid)}."
            )
        self.n_orientations, self.frequencies, self.bandwidth = n_orientations, frequencies, bandwidth
        self.grid, self.size = grid, size

    @cached_property
    def network(self) -> None:
        """There are no weights."""
        return None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Resize to ``size``; the values stay in 0..1."""
        return Preprocessing(size=self.size)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per filter, such as ``"5.12 cycles/image, 45 deg"``."""
        angles = [180 * k / self.n_orientations for k in range(self.n_orientations)]
        return tuple(f"{f:g} cycles/image, {a:g} deg" for f in self.frequencies for a in angles)

    @cached_property
    def _filters(self) -> np.ndarray:
        padded = self.size + 2 * (self.size // 4)
        return energy_filters(self.size, padded, self.n_orientations, self.frequencies, self.bandwidth)

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Images (batch, 3, size, size) in 0..1 -> (batch, grid, grid, n_filters), luminance units."""
        import torch

        weights = inputs.new_tensor(LUMINANCE)[:, None, None]
        luminance = (inputs * weights).sum(dim=1, keepdim=True)
        margin = self.size // 4
        contrast = luminance - luminance.mean(dim=(-2, -1), keepdim=True)
        spectrum = torch.fft.fft2(torch.nn.functional.pad(contrast, (margin,) * 4, mode="reflect"))
        filters = torch.as_tensor(self._filters, dtype=inputs.dtype, device=inputs.device)
        response = torch.fft.ifft2(spectrum * filters)[..., margin : margin + self.size, margin : margin + self.size]
        energy = response.real**2 + response.imag**2
        pooled = torch.nn.functional.avg_pool2d(energy, self.size // self.grid).permute(0, 2, 3, 1)
        return (pooled + FLOOR).sqrt() - FLOOR**0.5
