from __future__ import annotations

import time

import numpy as np
import pytest

from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.inflated import VIEWS, paint_inflated, render, view_axes


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_a_rotation_and_no_mirror(view, side):
    axes = view_axes(view, side)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1)


def half_of(picture, colour):
    """Mean (row, column), in shares of the picture, of pixels where one colour channel dominates."""
    rgb, alpha = picture[..., :3].astype(int), picture[..., 3] > 200
    rows, columns = np.nonzero(alpha & (rgb[..., colour] > 2 * rgb[..., (colour + 1) % 3]))
    return rows.mean() / picture.shape[0], columns.mean() / picture.shape[1]


def test_views_show_what_they_name(fsaverage5):
    for side, outward in (("left", -1), ("right", 1)):
        half = getattr(fsaverage5, side)
        front = half.shapes["inflated"][:, 1] > np.median(half.shapes["inflated"][:, 1])
        top = half.shapes["inflated"][:, 2] > np.median(half.shapes["inflated"][:, 2])
        colour = np.where(front[:, None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)
        _, column = half_of(render(half, colour, [], "lateral", side, size=120), 0)
        assert (column - 0.5) * outward > 0.1  # the left hemisphere's front is on the left of its lateral view
        _, column = half_of(render(half, colour, [], "medial", side, size=120), 0)
        assert (column - 0.5) * outward < -0.1
        colour = np.where(top[:, None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)
        row, _ = half_of(render(half, colour, [], "lateral", side, size=120), 0)
        assert row < 0.45
        assert half_of(render(half, colour, [], "posterior", side, size=120), 0)[0] < 0.45


def test_the_medial_wall_is_seen_from_inside_only(fsaverage5):
    for side in ("left", "right"):
        half = getattr(fsaverage5, side)
        colour = np.where(half.on_flat[:, None], [0, 0, 255], [255, 0, 0]).astype(np.uint8)
        seen = {
            view: int(((p := render(half, colour, [], view, side, size=120))[..., 0] > p[..., 2]).sum())
            for view in ("lateral", "medial")
        }
        assert seen["medial"] > 300 and seen["lateral"] < 20


def test_the_nearest_surface_wins_against_a_slow_ray(fsaverage5):
    half = fsaverage5.left
    points = half.shapes["pial"] @ view_axes("lateral", "left").T
    level = np.clip((points[:, 2] - points[:, 2].min()) / np.ptp(points[:, 2]), 0, 1)
    colour = np.repeat(np.rint(255 * level)[:, None], 3, 1).astype(np.uint8)
    picture = render(half, colour, [], "lateral", "left", "pial", size=100)
    rows, columns = np.nonzero(picture[..., 3] == 255)
    assert picture[rows, columns, 0].mean() > 100  # far surfaces (dark) are hidden behind near ones (bright)
    hidden = render(half, 255 - colour, [], "lateral", "left", "pial", size=100)
    assert hidden[rows, columns, 0].mean() < 100


def test_figure_has_both_sides_and_is_quick(smooth, fsaverage5):
    from matplotlib.text import Text

    mask = fsaverage5.curvature > 0.1
    paint_inflated(smooth, views=("lateral",), size=60)
    start = time.perf_counter()
    figure = paint_inflated(smooth, regions={"sulci": mask}, title="t")
    assert time.perf_counter() - start < 6  # about 1.5 s alone
    found = [text.get_text() for text in figure.findobj(Text)]
    assert {"left", "right", *VIEWS, "t", "r2 (fraction of variance)"} <= set(found)
    assert sum(bool(axes.images) for axes in figure.axes) == 8


def test_errors_are_one_sentence(smooth, toy):
    with pytest.raises(DataError, match="view 'top'"):
        paint_inflated(smooth, views=("top",))
    with pytest.raises(DataError, match="no 'inflated' shape"):
        paint_inflated(TargetMap(np.zeros(63), toy.space, "r2"), toy)
