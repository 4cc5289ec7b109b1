"""Contrast energy: theorems on gratings, and parity with a slow transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.features import build
from brainenc.features.gabor import LUMINANCE, energy_filters


@pytest.fixture(scope="module")
def bank():
    return build("gabor", "g")


def grating(size, fx, fy, phase=0.0, contrast=0.4):
    """Cycles per image along x and y; (1, 3, size, size) float64."""
    y, x = np.mgrid[0:size, 0:size] / size
    values = 0.5 + contrast / 2 * np.cos(2 * np.pi * (fx * x + fy * y) + phase)
    return torch.from_numpy(np.broadcast_to(values, (1, 3, size, size)).copy())


def slow_energy(image, frequencies, n_orientations, bandwidth, grid):
    """One pixel of the frequency plane at a time; (grid, grid, n_filters)."""
    size, margin = image.shape[-1], image.shape[-1] // 4
    luminance = np.tensordot(LUMINANCE, image, axes=(0, 0))
    spectrum = np.fft.fft2(np.pad(luminance - luminance.mean(), margin, mode="reflect"))
    padded = len(spectrum)
    features = []
    for f in frequencies:
        for k in range(n_orientations):
            theta, kept = np.pi * k / n_orientations, np.zeros_like(spectrum)
            for row in range(padded):
                for column in range(padded):
                    v, u = ((i if i < padded / 2 else i - padded) * size / padded for i in (row, column))
                    if (u, v) != (0, 0):
                        d2 = (u - f * np.cos(theta)) ** 2 + (v - f * np.sin(theta)) ** 2
                        kept[row, column] = 2 * np.exp(-d2 / (2 * (bandwidth * f) ** 2)) * spectrum[row, column]
            energy = np.abs(np.fft.ifft2(kept)[margin:-margin, margin:-margin]) ** 2
            cell = size // grid
            features.append(np.sqrt(energy.reshape(grid, cell, grid, cell).mean(axis=(1, 3))))
    return np.stack(features, axis=-1)


def test_default_is_512_features(bank):
    assert bank.shape == (8, 8, 8)
    assert len(bank.channel_names) == 8
    assert bank.channel_names[5] == "12.8 cycles/image, 45 deg"


def test_parity_with_the_slow_transform():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bank = build("gabor", "g", frequencies=[3.5, 8], n_orientations=3, size=32, grid=4, bandwidth=0.4)
    expected = slow_energy(image[0].numpy(), [3.5, 8], 3, 0.4, 4)
    np.testing.assert_allclose(bank.forward(image)[0], expected, atol=1.1e-5)


def test_default_spans_the_energy_that_the_planted_cortex_sees(bank):
    """The same filters, written twice: in float64 torch here, in float32 numpy there."""
    from brainenc.world.energy import contrast_energy, luminance

    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    planted = contrast_energy(luminance(pictures), pool=8)
    ours = bank.forward(torch.from_numpy(pictures.transpose(0, 3, 1, 2) / 255.0))
    np.testing.assert_allclose(ours, np.sqrt(planted).transpose(0, 2, 3, 1), rtol=1e-3, atol=2e-5)


def test_energy_does_not_depend_on_phase(bank):
    rows = torch.cat([bank.forward(grating(64, 5, 0, phase)) for phase in np.linspace(0, np.pi, 7)])
    own = rows[:, 2:6, 2:6, 0]  # away from the border
    assert ((own.amax(dim=0) - own.amin(dim=0)) / own.mean()).max() < 0.05

    def simple_cell(phase):
        """Broken twin: the real part alone, half a quadrature pair."""
        image = grating(64, 5, 0, phase)[0, 0].numpy()
        real = np.fft.ifft2(np.fft.fft2(image - image.mean()) * energy_filters(64, 64, 4, [5.12], 0.45)[0]).real
        return np.abs(real[32, 32])

    values = [simple_cell(phase) for phase in np.linspace(0, np.pi, 7)]
    assert np.ptp(values) / np.mean(values) > 0.5


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("f", [5.12, 12.8])
def test_a_grating_excites_its_own_filter_most(bank, k, f):
    theta = np.pi * k / 4
    energy = bank.forward(grating(64, f * np.cos(theta), f * np.sin(theta)))[0, 2:6, 2:6].mean(dim=(0, 1))
    assert int(energy.argmax()) == [5.12, 12.8].index(f) * 4 + k


def test_energy_is_linear_in_contrast_and_blind_to_mean(bank):
    low, high = (bank.forward(grating(64, 5, 0, contrast=c)) for c in (0.1, 0.4))
    torch.testing.assert_close(high[..., 0], 4 * low[..., 0], rtol=1e-2, atol=1e-4)
    blank = bank.forward(torch.full((1, 3, 64, 64), 0.9, dtype=torch.float64))
    assert blank.abs().max() < 1e-5


def test_shifting_the_image_by_a_cell_shifts_the_grid(bank):
    image = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    image[:, :, 24:32, 32:44] = torch.rand(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = bank.forward(image.roll((8, -16), dims=(2, 3)))
    still = bank.forward(image)
    torch.testing.assert_close(moved, still.roll((1, -2), dims=(1, 2)), rtol=0, atol=0.02 * float(still.max()))
    assert (moved - still).abs().max() > 0.5 * still.max()


def test_energy_is_local(bank):
    image = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    image[:, :, 8:24, 40:56] = grating(64, 13, 0)[:, :, 8:24, 40:56]
    energy = bank.forward(image)[0, :, :, 4]
    assert energy[1:3, 5:7].mean() > 20 * energy[5:, :3].mean()


def test_rows_are_y_and_columns_are_x(bank):
    image = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    image[:, :, :16] = grating(64, 13, 0)[:, :, :16]  # the top of the picture
    energy = bank.forward(image)[0].sum(dim=-1)
    assert energy[0].mean() > 10 * energy[5].mean()


def test_frequencies_are_of_the_image_not_of_pixels():
    coarse, fine = (build("gabor", "g", size=size).forward(grating(size, 5, 0)) for size in (64, 128))
    torch.testing.assert_close(coarse[..., 0], fine[..., 0], rtol=5e-2, atol=1e-2)


def test_a_blank_image_has_a_gradient(bank):
    image = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64, requires_grad=True)
    bank.forward(image).sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 7}, "grid is 7, wanted a divisor of size 64"),
        ({"frequencies": [30]}, "carry only 32: set size to at least 88"),
        ({"frequencies": []}, "wanted at least one of each"),
        ({"n_orientations": 0}, "wanted at least one of each"),
        ({"bandwidth": -1}, "wanted at least one of each"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(DataError, match=f"'g': .*{message}"):
        build("gabor", "g", **arguments)
