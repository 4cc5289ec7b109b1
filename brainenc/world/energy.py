"""Local contrast energy of pictures: what the planted early visual cortex sees.

Each filter is one lobe in the frequency plane, hence a quadrature pair in the picture, and energy is the squared
modulus of its output, which does not depend on the phase of a grating::

    H_f(k) = 2 exp(-|k - k_f|^2 / (2 (.45 |k_f|)^2)),   H_f(0) = 0,   k_f = F (cos o, sin o)
    E_f(p) = | IFFT( FFT(luminance - mean) H_f ) |^2

with frequencies F in cycles per pixel and orientations o = 0, 45, 90, 135 degrees (direction of the wave vector, rows
running down). The picture is continued by reflection, so that opposite edges do not meet. Source: the energy model of
Adelson & Bergen 1985 (doi:10.1364/JOSAA.2.000284).
"""

from __future__ import annotations

import numpy as np

from brainenc.core.types import DataError

FREQUENCIES = (0.08, 0.2)  # cycles per pixel of a 64-pixel picture
N_ORIENTATIONS = 4
BANDWIDTH = 0.45  # sd of the lobe as a share of its frequency
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def luminance(images: np.ndarray) -> np.ndarray:
    """Luminance in 0..1, shape (n, height, width) float32, of uint8 pictures (n, height, width, 3).

    Raises
    ------
    DataError
        Another shape or dtype.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"luminance: got {images.dtype} pictures of shape {images.shape}, wanted uint8 (n, height, width, 3): "
            "convert them to RGB."
        )
    return (images.astype(np.float32) @ _LUMINANCE) / np.float32(255)


def filters(
    height: int, width: int, frequencies: tuple[float, ...] = FREQUENCIES, n_orientations: int = N_ORIENTATIONS
) -> np.ndarray:
    """Transfer functions H, shape (n_frequencies * n_orientations, height, width), frequency the slow index."""
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    lobes = []
    for frequency in frequencies:
        for angle in np.arange(n_orientations) * np.pi / n_orientations:
            distance = (kx - frequency * np.cos(angle)) ** 2 + (ky - frequency * np.sin(angle)) ** 2
            lobes.append(2 * np.exp(-distance / (2 * (BANDWIDTH * frequency) ** 2)))
    transfer = np.stack(lobes).astype(np.float32)
    transfer[:, 0, 0] = 0.0
    return transfer


def contrast_energy(
    pictures: np.ndarray,
    frequencies: tuple[float, ...] = FREQUENCIES,
    n_orientations: int = N_ORIENTATIONS,
    pool: int = 2,
    batch_size: int = 64,
) -> np.ndarray:
    """Contrast energy of luminance pictures.

    Parameters
    ----------
    pictures : float array, shape (n, height, width)
        Luminance; height and width are multiples of ``pool``.
    frequencies : tuple of float
        Cycles per pixel.
    n_orientations : int
    pool : int
        Energy is averaged over blocks of ``pool`` x ``pool`` pixels.
    batch_size : int
        Pictures transformed together; bounds the memory.

    Returns
    -------
    float32 array, shape (n, n_frequencies * n_orientations, height / pool, width / pool)

    Raises
    ------
    DataError
        Height or width is not a multiple of ``pool``.
    """
    from scipy import fft

    n, height, width = pictures.shape
    if height % pool or width % pool:
        raise DataError(f"contrast_energy: pictures of {height} x {width} cannot be pooled by {pool}: resize them.")
    margin = height // 4, width // 4
    transfer = filters(height + 2 * margin[0], width + 2 * margin[1], frequencies, n_orientations)
    energy = np.empty((n, len(transfer), height // pool, width // pool), np.float32)
    for start in range(0, n, batch_size):
        batch = pictures[start : start + batch_size].astype(np.float32)
        batch = batch - batch.mean(axis=(1, 2), keepdims=True)
        spectrum = fft.fft2(np.pad(batch, ((0, 0), (margin[0],) * 2, (margin[1],) * 2), mode="reflect"))
        for channel, lobe in enumerate(transfer):
            response = fft.ifft2(spectrum * lobe)[:, margin[0] : margin[0] + height, margin[1] : margin[1] + width]
            square = response.real**2 + response.imag**2
            blocks = square.reshape(len(batch), height // pool, pool, width // pool, pool)
            energy[start : start + batch_size, channel] = blocks.mean(axis=(2, 4))
    return energy
