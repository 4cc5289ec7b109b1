from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import ListedColormap

from brainenc.core.types import DataError
from brainenc.surfaces.colour import ColourScale, ReliabilityScale, category_colours, check_colours, colormap


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB in [0, 1]."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_the_signed_map_is_symmetric_and_even_in_lightness():
    level = lightness(colormap("signed")(np.linspace(0, 1, 256))[:, :3])
    assert np.abs(level - level[::-1]).max() < 9
    assert (np.diff(level[:128]) > -0.01).all() and (np.diff(level[128:]) < 0.01).all()
    steps = np.diff(level[:128])
    assert steps.max() < 3 * steps.mean()


def test_rainbows_are_refused_by_name():
    with pytest.raises(DataError, match="rainbow"):
        colormap("jet_r")
    with pytest.raises(DataError, match="unknown"):
        colormap("no such map")
    assert colormap(ListedColormap(["red", "blue"])).N == 2


def test_scale_from_values():
    values = np.r_[np.linspace(0, 1, 1001), np.nan]
    scale = ColourScale.of(values)
    assert scale.vmin == 0 and scale.vmax == pytest.approx(0.99, abs=1e-6)
    signed = ColourScale.of(values - 0.2, symmetric=True)
    assert signed.vmin == -signed.vmax and signed.cmap == "signed"
    assert ColourScale.of(values, vmin=0.5).vmin == 0.5
    assert ColourScale.of(values, vmax=0.3, symmetric=True).vmin == -0.3
    for awkward in (np.full(3, np.nan), np.zeros(4), np.full(4, 2.0), np.full(4, -2.0)):
        assert ColourScale.of(awkward).vmin < ColourScale.of(awkward).vmax
        assert ColourScale.of(awkward, vmax=0.0).vmin < 0


def test_ends_of_the_bar_tell_of_values_beyond():
    scale = ColourScale(0, 1)
    assert scale.extend(np.array([0.2, np.nan])) == "neither"
    assert scale.extend(np.array([-1, 0.2])) == "min"
    assert scale.extend(np.array([2.0])) == "max"
    assert scale.extend(np.array([2.0, -1.0])) == "both"


def test_colours_are_the_table_and_ends_are_clipped():
    scale = ColourScale(0, 1)
    np.testing.assert_array_equal(scale.colours(np.array([-5.0, 0, 1, 9])), scale.table[[0, 0, 255, 255]])


def test_reliability_is_linear_between_its_ends():
    np.testing.assert_allclose(
        ReliabilityScale(0.2, 0.6).alpha(np.array([0, 0.2, 0.4, 0.6, 2, np.nan])), [0, 0, 0.5, 1, 1, 0]
    )
    with pytest.raises(DataError, match="low < high"):
        ReliabilityScale(1, 1)


@pytest.mark.parametrize("n", [0, 1, 8, 12, 40])
def test_category_colours_differ(n):
    colours = category_colours(n)
    assert colours.shape == (n, 3) and len(np.unique(colours, axis=0)) == n


def test_unknown_colours_and_limits_are_refused():
    with pytest.raises(DataError, match="'nocolour'"):
        check_colours(["red", "nocolour"])
    with pytest.raises(DataError, match="vmin < vmax"):
        ColourScale(1, 0)
