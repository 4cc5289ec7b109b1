from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.spaces import VoxelSpace
from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.volume import paint_slices, project_to_surface


def voxels(step=5.0, low=(-80, -115, -60), high=(80, 80, 90), flip=False):
    shape = tuple(int((b - a) / step) + 1 for a, b in zip(low, high, strict=True))
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    if flip:
        affine[0] = [-step, 0, 0, low[0] + step * (shape[0] - 1)]
    return VoxelSpace(np.ones(shape, bool), affine)


def millimetres(space):
    index = np.stack(np.unravel_index(space.positions, space.frame), 1)
    return index @ space.affine[:3, :3].T + space.affine[:3, 3]


@pytest.mark.parametrize("flip", [False, True])
def test_a_linear_field_is_projected_exactly(fsaverage5, flip):
    space = voxels(flip=flip)
    field = millimetres(space) @ [1.0, 2.0, -1.0] + 7
    projected = project_to_surface(TargetMap(field, space, "r2", "u"))
    middle = 0.5 * np.concatenate(
        [half.shapes["pial"] + half.shapes["white"] for half in (fsaverage5.left, fsaverage5.right)]
    )
    known = np.isfinite(projected.values)
    assert known.mean() > 0.99 and projected.space == fsaverage5.space
    inner = known & (np.abs(middle) < [70, 70, 70]).all(1) & (middle[:, 2] > -50)
    np.testing.assert_allclose(projected.values[inner], (middle @ [1.0, 2.0, -1.0] + 7)[inner], atol=1e-3)


def test_left_voxels_reach_left_vertices(fsaverage5):
    space = voxels(flip=True)
    projected = project_to_surface(TargetMap(np.sign(millimetres(space)[:, 0] - 0.1), space, "side"))
    assert np.nanmean(projected.values[:10242]) < -0.9 and np.nanmean(projected.values[10242:]) > 0.9


def test_unmeasured_voxels_are_left_out_and_not_counted_as_zero():
    space = voxels()
    generator = np.random.default_rng(0)
    kept = space.select(generator.random(space.n_targets) < 0.8)
    ones = np.where(generator.random(kept.n_targets) < 0.1, np.nan, 1.0)
    values = project_to_surface(TargetMap(ones, kept, "r2")).values
    np.testing.assert_allclose(values[np.isfinite(values)], 1, atol=1e-6)
    naive = project_to_surface(TargetMap(space.gather(kept.scatter(np.nan_to_num(ones), fill=0.0)), space, "r2")).values
    assert np.nanmin(naive) < 0.8  # the broken twin: zeros leak in


def test_nearest_keeps_labels_whole():
    space = voxels()
    labels = np.random.default_rng(0).integers(1, 6, space.n_targets).astype(float)
    values = project_to_surface(TargetMap(labels, space, "label"), interpolation="nearest").values
    assert set(np.unique(values[np.isfinite(values)])) <= {1.0, 2.0, 3.0, 4.0, 5.0}


def test_a_single_slice_is_projected_where_it_lies(fsaverage5):
    space = voxels(low=(-80, -115, 0), high=(80, 80, 0))
    values = project_to_surface(TargetMap(np.ones(space.n_targets), space, "r2")).values
    z = np.concatenate([fsaverage5.left.shapes["pial"], fsaverage5.right.shapes["pial"]])[:, 2]
    assert np.isfinite(values).sum() > 500 and np.abs(z[np.isfinite(values)]).max() < 10


def picture_of(figure, n=0):
    return figure.axes[n].images[0].get_array()


@pytest.mark.parametrize("flip", [False, True])
def test_the_left_of_the_brain_is_on_the_left_of_a_slice(flip):
    space = voxels(flip=flip)
    field = TargetMap(np.sign(millimetres(space)[:, 0]), space, "side")
    picture = picture_of(paint_slices(field, symmetric=True, slices=[10]))
    middle = picture.shape[1] // 2
    assert picture[:, 0, 2].mean() > picture[:, 0, 0].mean()  # blue: negative x
    assert picture[:, -1, 0].mean() > picture[:, -1, 2].mean()
    assert middle > 5


def test_slices_hold_targets_and_tell_their_place():
    from matplotlib.text import Text

    space = voxels()
    deep = space.select(millimetres(space)[:, 2] == -20)
    figure = paint_slices(TargetMap(np.arange(deep.n_targets, dtype=float), deep, "r2"), title="one slice")
    found = [text.get_text() for text in figure.findobj(Text)]
    assert {"z = -20 mm", "L", "R", "one slice", "r2"} <= set(found)
    assert sum(text.startswith("z =") for text in found) == 1


def test_regions_and_every_axis():
    space = voxels()
    place = millimetres(space)
    field = TargetMap(place[:, 1] / 100, space, "y")
    for axis in ("axial", "coronal", "sagittal"):
        figure = paint_slices(field, axis, regions={"left": place[:, 0] < 0}, background=np.ones(space.frame))
        assert len([axes for axes in figure.axes if axes.images]) >= 12


def test_errors_are_one_sentence(smooth):
    space = voxels(step=20)
    field = TargetMap(np.ones(space.n_targets), space, "r2")
    far = VoxelSpace(space.mask, space.affine + np.diag([0, 0, 0, 0]) + np.array([[0, 0, 0, 999.0]] + [[0] * 4] * 3))
    for call, words in (
        (lambda: project_to_surface(smooth), "vertex space"),
        (lambda: project_to_surface(TargetMap(field.values, far, "r2")), "no vertex of mesh 'fsaverage5'"),
        (lambda: project_to_surface(field, interpolation="cubic"), "'cubic'"),
        (lambda: paint_slices(smooth), "paint_flatmap"),
        (lambda: paint_slices(field, "oblique"), "'oblique'"),
        (lambda: paint_slices(field, slices=[99]), "do not fit"),
        (lambda: paint_slices(field, background=np.ones((2, 2, 2))), "background"),
    ):
        with pytest.raises(DataError, match=words):
            call()
