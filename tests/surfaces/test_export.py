from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainenc.core.spaces import VertexSpace, VoxelSpace
from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.export import (
    ENTITIES,
    bids_name,
    export_map,
    write_cifti,
    write_gifti,
    write_nifti,
    write_sidecar,
)


@pytest.fixture
def voxel_map():
    generator = np.random.default_rng(0)
    affine = np.array([[-2, 0.1, 0, 30], [0, 2.5, 0, -40], [0.2, 0, 3, -10], [0, 0, 0, 1.0]])
    space = VoxelSpace(generator.random((5, 6, 7)) < 0.4, affine)
    values = generator.normal(size=space.n_targets).astype(np.float32)
    values[3] = np.nan
    return TargetMap(values, space, "r2", "fraction of variance")


@pytest.fixture
def vertex_map():
    generator = np.random.default_rng(1)
    space = VertexSpace("fsaverage5", 30, 40, generator.permutation(70)[:25])
    values = generator.normal(size=25).astype(np.float32)
    values[[2, 9]] = np.nan
    return TargetMap(values, space, "r2", "fraction of variance")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nifti_comes_back_with_affine_and_nan(voxel_map, tmp_path, extension, dtype):
    given_map = TargetMap(voxel_map.values.astype(dtype), voxel_map.space, "r2")
    image = nib.load(write_nifti(given_map, tmp_path / f"a{extension}"))
    data = np.asarray(image.dataobj)
    assert data.dtype == dtype
    np.testing.assert_array_equal(image.affine, voxel_map.space.affine.astype(np.float32))  # NIfTI's own precision
    np.testing.assert_array_equal(voxel_map.space.gather(data), given_map.values)
    assert np.isnan(data[~voxel_map.space.mask]).all()
    assert image.header.get_xyzt_units()[0] == "mm"


def test_gifti_comes_back_per_hemisphere(vertex_map, tmp_path):
    left, right = write_gifti(vertex_map, tmp_path / "L.func.gii", tmp_path / "R.func.gii")
    full = np.concatenate([nib.load(left).agg_data(), nib.load(right).agg_data()])
    np.testing.assert_array_equal(vertex_map.space.gather(full), vertex_map.values)
    assert np.isnan(np.delete(full, vertex_map.space.vertices)).all()
    assert nib.load(left).meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert nib.load(right).meta["AnatomicalStructurePrimary"] == "CortexRight"
    assert nib.load(left).darrays[0].meta["Name"] == "r2"
    swapped = np.concatenate([nib.load(right).agg_data(), nib.load(left).agg_data()])
    assert not np.array_equal(vertex_map.space.gather(swapped), vertex_map.values, equal_nan=True)  # the broken twin


def test_nilearn_opens_the_gifti_pair_on_its_own_mesh(fsaverage5, smooth, tmp_path):
    from nilearn.datasets import load_fsaverage
    from nilearn.surface import SurfaceImage

    left, right = write_gifti(smooth, tmp_path / "L.func.gii", tmp_path / "R.func.gii")
    image = SurfaceImage(load_fsaverage("fsaverage5")["pial"], {"left": left, "right": right})
    np.testing.assert_array_equal(
        np.concatenate([image.data.parts[h].ravel() for h in ("left", "right")]), smooth.values
    )


def test_cifti_holds_exactly_the_targets(vertex_map, tmp_path):
    image = nib.load(write_cifti(vertex_map, tmp_path / "a.dscalar.nii"))
    names, models = image.header.get_axis(0), image.header.get_axis(1)
    assert list(names.name) == ["r2"] and image.shape == (1, 25)
    offset = np.where(models.name == "CIFTI_STRUCTURE_CORTEX_RIGHT", 30, 0)
    full = np.full(70, np.nan, np.float32)
    full[models.vertex + offset] = image.get_fdata(dtype=np.float32)[0]
    np.testing.assert_array_equal(vertex_map.space.gather(full), vertex_map.values)
    assert models.nvertices == {"CIFTI_STRUCTURE_CORTEX_LEFT": 30, "CIFTI_STRUCTURE_CORTEX_RIGHT": 40}
    assert image.nifti_header.get_intent()[0] == "ConnDenseScalar"


def test_cifti_of_one_hemisphere(vertex_map, tmp_path):
    only = vertex_map.space.vertices >= 30
    part = TargetMap(vertex_map.values[only], vertex_map.space.select(only), "r2")
    models = nib.load(write_cifti(part, tmp_path / "a.dscalar.nii")).header.get_axis(1)
    assert set(models.name) == {"CIFTI_STRUCTURE_CORTEX_RIGHT"}


def test_the_name_of_the_guide():
    entities = {"desc": "clipridge", "hemi": "L", "sub": "01", "stat": "r2", "task": "x", "space": "fsaverage5"}
    expected = "sub-01_task-x_space-fsaverage5_hemi-L_stat-r2_desc-clipridge_statmap.func.gii"
    assert bids_name(entities, "statmap", ".func.gii") == expected


@given(st.permutations([key for key in ENTITIES if key != "sub"]), st.integers(0, len(ENTITIES) - 1))
def test_names_do_not_depend_on_order_and_desc_is_last(keys, n):
    entities = dict.fromkeys([*keys[:n], "sub"], "a1")
    name = bids_name(entities, "statmap", ".nii.gz")
    assert name == bids_name(dict(reversed(entities.items())), "statmap", ".nii.gz")
    parts = name.removesuffix(".nii.gz").split("_")
    assert parts[0] == "sub-a1" and parts[-1] == "statmap"
    assert dict(part.split("-") for part in parts[:-1]) == entities
    assert "desc" not in entities or parts[-2] == "desc-a1"


@pytest.mark.parametrize(
    ("entities", "suffix", "extension", "words"),
    [
        ({"sub": "01", "subject": "01"}, "statmap", ".nii", "'subject' is unknown"),
        ({"task": "x"}, "statmap", ".nii", "'sub' is missing"),
        ({"sub": "01", "desc": "clip-ridge"}, "statmap", ".nii", "desc is 'clip-ridge'"),
        ({"sub": "../x"}, "statmap", ".nii", "letters and digits"),
        ({"sub": "01"}, "stat_map", ".nii", "suffix"),
        ({"sub": "01"}, "statmap", "nii", "extension"),
    ],
)
def test_wrong_names_are_refused(entities, suffix, extension, words):
    with pytest.raises(DataError, match=words):
        bids_name(entities, suffix, extension)


@pytest.mark.parametrize("name", ["a_statmap.nii.gz", "a_statmap.nii", "a_statmap.func.gii", "a_statmap.dscalar.nii"])
def test_sidecars_stand_beside_their_file(tmp_path, name):
    content = {
        "Sources": ["x.h5"],
        "Seed": np.int64(3),
        "Alphas": np.array([1.0, 10.0]),
        "Path": tmp_path,
        "Score": float("nan"),
    }
    path = write_sidecar(tmp_path / name, content)
    assert path.name == "a_statmap.json"
    plain = {"Sources": ["x.h5"], "Seed": 3, "Alphas": [1.0, 10.0], "Path": str(tmp_path), "Score": None}
    assert json.loads(path.read_text()) == plain


def test_export_writes_names_and_sidecars(vertex_map, voxel_map, tmp_path):
    files = export_map(vertex_map, tmp_path, {"sub": "01", "stat": "r2"}, {"Seed": 0})
    assert [f.name for f in files] == [f"sub-01_space-fsaverage5_hemi-{h}_stat-r2_statmap.func.gii" for h in "LR"]
    files += export_map(voxel_map, tmp_path, {"sub": "01", "space": "MNI152", "stat": "r2"})
    assert files[-1].name == "sub-01_space-MNI152_stat-r2_statmap.nii.gz"
    sidecars = sorted(path.name for path in tmp_path.glob("*.json"))
    assert len(sidecars) == 3
    assert json.loads((tmp_path / sidecars[0]).read_text())["Units"] == "fraction of variance"
    assert len(list(tmp_path.iterdir())) == 6  # nothing temporary is left


def test_errors_are_one_sentence(vertex_map, voxel_map, tmp_path):
    for call, words in (
        (lambda: write_nifti(vertex_map, tmp_path / "a.nii"), "vertex space, wanted voxel"),
        (lambda: write_cifti(voxel_map, tmp_path / "a.dscalar.nii"), "voxel space, wanted vertex"),
        (lambda: write_nifti(voxel_map, tmp_path / "a.img"), "'.img'"),
        (lambda: write_gifti(vertex_map, tmp_path / "a.gii", tmp_path / "b.gii"), ".func.gii"),
        (lambda: write_sidecar(tmp_path / "a.png", {}), "no sidecar"),
    ):
        with pytest.raises(DataError, match=words):
            call()
    assert list(tmp_path.iterdir()) == []
