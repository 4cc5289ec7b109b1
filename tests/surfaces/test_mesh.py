from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from brainenc.core.spaces import ParcelSpace, VertexSpace
from brainenc.core.types import DataError
from brainenc.surfaces.mesh import (
    Hemisphere,
    SurfaceMesh,
    load_mesh,
    mean_curvature,
    read_mesh,
    upright,
    vertex_normals,
)
from brainenc.surfaces.raster import cross


def write_surface(path, points, faces):
    arrays = [
        nib.gifti.GiftiDataArray(points.astype(np.float32), "NIFTI_INTENT_POINTSET", "NIFTI_TYPE_FLOAT32"),
        nib.gifti.GiftiDataArray(faces.astype(np.int32), "NIFTI_INTENT_TRIANGLE", "NIFTI_TYPE_INT32"),
    ]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)
    return path


def write_patch(path, flat, kept):
    with open(path, "wb") as file:
        file.write(np.array([-1, len(kept)], ">i4").tobytes())
        for k, vertex in enumerate(kept):
            sign = -1 if k % 3 == 0 else 1
            file.write(np.array([sign * (vertex + 1)], ">i4").tobytes() + np.array([*flat[vertex], 0], ">f4").tobytes())
    return path


def files(mesh, folder):
    sides = {}
    for side in ("left", "right"):
        half = getattr(mesh, side)
        flat = np.column_stack([half.flat, np.zeros(half.n_vertices)])
        sides[side] = {
            "white": write_surface(folder / f"{side}.white.gii", half.shapes["white"], half.faces),
            "flat": write_surface(folder / f"{side}.flat.gii", flat, half.flat_faces),
        }
    return sides


def test_fsaverage5_is_what_nilearn_loads(fsaverage5):
    from nilearn.datasets import load_fsaverage

    theirs = load_fsaverage("fsaverage5")
    for side in ("left", "right"):
        mine = getattr(fsaverage5, side)
        for name, key in (("white", "white_matter"), ("pial", "pial"), ("inflated", "inflated"), ("sphere", "sphere")):
            np.testing.assert_allclose(mine.shapes[name], theirs[key].parts[side].coordinates)
        np.testing.assert_allclose(mine.flat, theirs["flat"].parts[side].coordinates[:, :2])
        np.testing.assert_array_equal(mine.flat_faces, theirs["flat"].parts[side].faces)
    assert (fsaverage5.left.n_vertices, fsaverage5.space.n_targets) == (10242, 20484)
    assert np.array_equal(np.flatnonzero(fsaverage5.left.on_flat), np.unique(theirs["flat"].parts["left"].faces))


def test_flat_sheets_face_outwards_dorsal_up_and_posterior_inwards(fsaverage5):
    for half, inward in ((fsaverage5.left, 1), (fsaverage5.right, -1)):
        corner = half.flat[half.flat_faces]
        assert (cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) > 0).mean() > 0.999
        used, pial = half.on_flat, half.shapes["pial"]
        assert np.corrcoef(half.flat[used, 1], pial[used, 2])[0, 1] > 0.7
        assert inward * np.corrcoef(half.flat[used, 0], -pial[used, 1])[0, 1] > 0.8


def test_gifti_files_come_back(toy, tmp_path):
    sides = files(toy, tmp_path)
    mesh = read_mesh("toy", sides["left"], sides["right"])
    for side in ("left", "right"):
        np.testing.assert_allclose(getattr(mesh, side).flat, getattr(toy, side).flat, rtol=1e-5)
        np.testing.assert_array_equal(getattr(mesh, side).flat_faces, getattr(toy, side).flat_faces)
    assert mesh.space == toy.space


def test_freesurfer_geometry_and_morphometry_come_back(toy, tmp_path):
    sides = {}
    for side in ("left", "right"):
        half = getattr(toy, side)
        nib.freesurfer.write_geometry(str(tmp_path / f"{side}.pial"), half.shapes["pial"], half.faces)
        nib.freesurfer.write_morph_data(str(tmp_path / f"{side}.curv"), half.curvature)
        sides[side] = {"pial": tmp_path / f"{side}.pial", "curvature": tmp_path / f"{side}.curv"}
    mesh = read_mesh("toy", sides["left"], sides["right"])
    np.testing.assert_allclose(mesh.right.shapes["pial"], toy.right.shapes["pial"], rtol=1e-5)
    np.testing.assert_allclose(mesh.curvature, toy.curvature, rtol=1e-5)
    assert mesh.left.flat is None


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_freesurfer_patch_is_turned_upright(fsaverage5, tmp_path, mirrored):
    half = fsaverage5.left
    angle = 2.1
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    given = half.flat @ turn * ([-1, 1] if mirrored else [1, 1])
    kept = np.flatnonzero(half.on_flat)
    pial = tmp_path / "lh.pial"
    nib.freesurfer.write_geometry(str(pial), half.shapes["pial"], half.faces)
    left = {"pial": pial, "flat": write_patch(tmp_path / "lh.full.patch.flat", given, kept)}
    right = {"white": write_surface(tmp_path / "r.gii", fsaverage5.right.shapes["white"], fsaverage5.right.faces)}
    read = read_mesh("fsaverage5", left, right).left
    assert np.array_equal(np.flatnonzero(read.on_flat), kept)
    corner = read.flat[read.flat_faces]
    assert (cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) > 0).mean() > 0.99
    assert np.corrcoef(read.flat[kept, 0], half.flat[kept, 0])[0, 1] > 0.95
    assert np.corrcoef(read.flat[kept, 1], half.flat[kept, 1])[0, 1] > 0.95


def test_upright_leaves_an_upright_sheet_nearly_alone(fsaverage5):
    half = fsaverage5.right
    turned = upright(half.flat, half.flat_faces, half.shapes["pial"], "right")
    assert np.corrcoef(turned[half.on_flat, 0], half.flat[half.on_flat, 0])[0, 1] > 0.95


def test_curvature_of_a_sphere_and_of_fsaverage(fsaverage5):
    sphere = fsaverage5.left.shapes["sphere"]
    assert (mean_curvature(sphere, fsaverage5.left.faces) < 0).all()  # convex everywhere: a gyrus
    mine = mean_curvature(fsaverage5.left.shapes["white"], fsaverage5.left.faces)
    assert np.corrcoef(np.sign(mine), np.sign(fsaverage5.left.curvature))[0, 1] > 0.5
    normal = vertex_normals(sphere, fsaverage5.left.faces)
    assert ((normal * sphere).sum(1) > 0.9 * np.linalg.norm(sphere, axis=1)).all()


def test_exchanged_hemispheres_are_refused(toy, tmp_path):
    sides = files(toy, tmp_path)
    with pytest.raises(DataError, match="exchange the left and right files"):
        read_mesh("toy", sides["right"], sides["left"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"left": {}}, "no folded surface"),
        ({"left": {"inflat": "x"}}, "unknown key 'inflat'"),
        ({"left": {"white": "nowhere.gii"}}, "no such file"),
    ],
)
def test_wrong_files_get_one_sentence(toy, tmp_path, change, words):
    sides = {**files(toy, tmp_path), **change}
    with pytest.raises(DataError, match=words):
        read_mesh("toy", sides["left"], sides["right"])


def test_files_of_different_meshes_are_refused(toy, tmp_path):
    sides = files(toy, tmp_path)
    sides["left"]["flat"] = sides["right"]["flat"]
    with pytest.raises(DataError, match="same mesh"):
        read_mesh("toy", sides["left"], sides["right"])


def test_garbage_is_refused(tmp_path):
    (tmp_path / "a.gii").write_text("no xml")
    (tmp_path / "b.pial").write_bytes(b"nothing")
    (tmp_path / "c.patch.flat").write_bytes(b"x")
    for name in ("a.gii", "b.pial"):
        with pytest.raises(DataError, match="not a"):
            read_mesh("x", {"white": tmp_path / name}, {"white": tmp_path / name})


def test_unknown_mesh_and_wrong_space(toy):
    with pytest.raises(DataError, match="does not ship"):
        load_mesh("fsaverage6")
    with pytest.raises(DataError, match="parcel space"):
        toy.check(ParcelSpace(("a",)), "map")
    with pytest.raises(DataError, match="'other'"):
        toy.check(VertexSpace("other", 26, 37, np.arange(63)), "map")
    with pytest.raises(DataError, match="10242"):
        toy.check(VertexSpace("toy", 10242, 10242, np.arange(5)), "map")
    toy.check(toy.space, "map")


def test_hemisphere_refuses_wrong_shapes(toy):
    half = toy.left
    with pytest.raises(DataError, match="both or neither"):
        replace(half, flat_faces=None)
    with pytest.raises(DataError, match="existing vertices"):
        Hemisphere(half.faces + 5, half.flat, half.flat_faces, half.shapes, half.curvature)
    with pytest.raises(DataError, match="no 'inflated' shape"):
        SurfaceMesh("toy", half, half).left.shape("inflated")
