"""Contrast energy: gratings go to their own channel, phase and mean luminance do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.world.energy import FREQUENCIES, N_ORIENTATIONS, contrast_energy, filters, luminance


def grating(frequency: float, orientation: int, phase: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    angle = orientation * np.pi / N_ORIENTATIONS
    return 0.5 + 0.4 * np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)


@pytest.mark.parametrize("channel", range(8))
def test_a_grating_excites_its_own_channel_most(channel: int) -> None:
    frequency, orientation = FREQUENCIES[channel // N_ORIENTATIONS], channel % N_ORIENTATIONS
    energy = contrast_energy(grating(frequency, orientation)[None])[0, :, 8:24, 8:24].mean(axis=(1, 2))
    assert energy.argmax() == channel
    assert energy[channel] == pytest.approx(0.4**2, rel=0.1)  # the squared amplitude


def test_energy_does_not_depend_on_phase() -> None:
    pictures = np.stack([grating(0.2, 1, phase) for phase in np.linspace(0, np.pi, 5)])
    energy = contrast_energy(pictures)[:, 5, 10:22, 10:22]
    assert np.ptp(energy, axis=0).max() < 0.05 * energy.mean()
    even = np.fft.ifft2(np.fft.fft2(pictures - 0.5) * filters(64, 64)[5]).real[:, 20:44, 20:44] ** 2
    assert np.ptp(even, axis=0).max() > 0.5 * even.mean()  # the broken twin: one filter instead of a quadrature pair


def test_mean_luminance_does_not_matter_and_contrast_counts_squared() -> None:
    picture = grating(0.08, 2)[None]
    assert np.allclose(contrast_energy(picture), contrast_energy(picture + 0.3), atol=1e-6)
    assert np.allclose(4 * contrast_energy(picture), contrast_energy(2 * picture), rtol=1e-3, atol=1e-7)
    assert np.abs(contrast_energy(np.full((1, 64, 64), 0.7))).max() < 1e-10


def test_batches_and_pooling_change_nothing() -> None:
    pictures = np.random.default_rng(0).random((5, 32, 32))
    whole = contrast_energy(pictures, pool=1)
    assert np.array_equal(whole, contrast_energy(pictures, pool=1, batch_size=2))
    pooled = whole.reshape(5, 8, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.allclose(contrast_energy(pictures), pooled, rtol=1e-5)


def test_pictures_of_another_kind_are_refused() -> None:
    assert luminance(np.full((1, 4, 4, 3), 255, np.uint8)) == pytest.approx(1.0)
    with pytest.raises(DataError, match="wanted uint8"):
        luminance(np.zeros((1, 4, 4, 3)))
    with pytest.raises(DataError, match="cannot be pooled"):
        contrast_energy(np.zeros((1, 33, 32)))
