"""Factorised encoders: places and sizes in degrees, planted fields found, subjects side by side, moves that help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.encoders.factorised import FactorisedEncoder, ReceptiveFields
from brainenc.stats.metrics import correlation

QUICK: dict[str, Any] = {"epochs": 40, "batch_size": 32, "learning_rate": 0.02, "device": "cpu"}


def planted(n: int = 400, grid: tuple[int, int] = (6, 9), n_targets: int = 16, seed: int = 0):
    """Smooth tokens and responses from one place each; truth: x right and y up from the middle, in picture widths."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    X = gaussian_filter(rng.standard_normal((n, *grid, 3)), (0, 0.7, 0.7, 0)).astype(np.float32)
    rows, columns = rng.integers(grid[0], size=n_targets), rng.integers(grid[1], size=n_targets)
    feature = rng.standard_normal((n_targets, 3))
    Y = np.einsum("nvc,vc->nv", X[:, rows, columns], feature)
    Y = Y / Y.std(axis=0) + 0.3 * rng.standard_normal(Y.shape)
    return X, Y.astype(np.float32), (columns + 0.5) / grid[1] - 0.5, (grid[0] / 2 - rows - 0.5) / grid[1]


def near(fields: ReceptiveFields, x: np.ndarray, y: np.ndarray) -> bool:
    r = [np.corrcoef(found, truth)[0, 1] for found, truth in ((fields.x, x), (fields.y, y))]
    return min(r) > 0.9 and np.median(np.hypot(fields.x - x, fields.y - y)) < 0.1


def test_planted_places_come_back_in_the_frame_of_the_visual_field() -> None:
    X, Y, x, y = planted()
    encoder = FactorisedEncoder("gaussian", **QUICK).fit(X, Y)
    fields = encoder.receptive_fields()
    assert near(fields, x, y) and (fields.size > 0).all()
    assert not near(fields, x, -y) and not near(fields, y, x)  # upside down; x and y exchanged
    degrees = encoder.receptive_fields(degrees=8.0)
    np.testing.assert_allclose(degrees.x, 8 * fields.x)
    np.testing.assert_allclose(degrees.y, 8 * fields.y)
    np.testing.assert_allclose(degrees.size, 8 * fields.size)
    np.testing.assert_allclose(
        degrees.eccentricity * np.exp(1j * np.radians(degrees.angle)), degrees.x + 1j * degrees.y
    )
    maps = encoder.weight_maps()
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-4)
    exchanged = FactorisedEncoder("gaussian", **QUICK).fit(X.swapaxes(1, 2), Y)
    assert not near(exchanged.receptive_fields(), x, y)


def test_angles_turn_against_the_clock_from_the_right() -> None:
    fields = ReceptiveFields(np.array([1.0, 0, -1, 0]), np.array([0.0, 2, 0, -3]), np.ones(4))
    np.testing.assert_allclose(fields.angle, [0, 90, 180, -90])
    np.testing.assert_allclose(fields.eccentricity, [1, 2, 1, 3])


def test_a_spatial_map_peaks_where_the_target_looks() -> None:
    X, Y, x, y = planted(grid=(6, 6))
    encoder = FactorisedEncoder("spatial_feature", **QUICK).fit(X, Y)
    maps = np.abs(encoder.weight_maps()).reshape(16, -1)
    row, column = np.divmod(maps.argmax(axis=1), 6)
    hits = (np.abs((column + 0.5) / 6 - 0.5 - x) < 0.01) & (np.abs(0.5 - (row + 0.5) / 6 - y) < 0.01)
    assert hits.mean() >= 0.75


def test_a_core_is_trained_from_subjects_who_saw_different_pictures() -> None:
    """Contrast, which no linear readout of pixels sees; each subject saw half of the pictures."""
    rng = np.random.default_rng(0)
    contrast = rng.uniform(0.2, 2.0, (300, 2))
    pictures = rng.standard_normal((300, 12, 12, 3)).astype(np.float32)
    pictures[:, :, :6] *= contrast[:, 0, None, None, None]
    pictures[:, :, 6:] *= contrast[:, 1, None, None, None]
    clean = np.concatenate([contrast @ [[1, 0], [0, 1]]] * 2, axis=1)
    Y = (clean + 0.1 * rng.standard_normal(clean.shape)).astype(np.float32)
    Y[1:250:2, :2], Y[0:250:2, 2:] = np.nan, np.nan
    encoder = FactorisedEncoder(core_widths=[8, 8], **(QUICK | {"epochs": 25})).fit(pictures[:250], Y[:250])
    assert correlation(clean[250:], encoder.predict(pictures[250:])).min() > 0.8
    flat = FactorisedEncoder(**(QUICK | {"epochs": 25})).fit(pictures[:250], Y[:250])
    assert correlation(clean[250:], flat.predict(pictures[250:])).max() < 0.5


def test_a_semantic_readout_may_look_at_another_map() -> None:
    rng = np.random.default_rng(0)
    X, where = (rng.standard_normal((40, *shape)).astype(np.float32) for shape in ((4, 4, 3), (2, 2, 5)))
    Y = X.mean(axis=(1, 2)) @ rng.standard_normal((3, 4)).astype(np.float32)
    encoder = FactorisedEncoder("semantic", n_hidden=4, **(QUICK | {"epochs": 4})).fit([X, where], Y)
    assert encoder.predict([X, where]).shape == (40, 4)
    fields = encoder.moved_fields([X, where], slice(1, 3))
    assert fields.shape == (40, 2, 4, 4) and np.ptp(fields, axis=0).max() > 1e-4  # they move with the picture
    assert not np.allclose(encoder.predict([X, where[::-1].copy()]), encoder.predict([X, where]))
    again = FactorisedEncoder.from_state(encoder.config(), encoder.state())
    np.testing.assert_array_equal(again.moved_fields([X, where]), encoder.moved_fields([X, where]))
    with pytest.raises(DataError, match="was fitted on"):
        encoder.predict(X)


def test_a_readout_says_what_it_cannot_give() -> None:
    X, Y, _, _ = planted(n=40)
    one = QUICK | {"epochs": 1}
    with pytest.raises(DataError, match="no Gaussian receptive fields"):
        FactorisedEncoder(**one).fit(X, Y).receptive_fields()
    with pytest.raises(DataError, match="moves no receptive field"):
        FactorisedEncoder(**one).fit(X, Y).moved_fields(X)
