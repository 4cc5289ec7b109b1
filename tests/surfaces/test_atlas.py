from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from brainenc.core.spaces import ParcelSpace, VertexSpace, VoxelSpace
from brainenc.core.types import DataError
from brainenc.surfaces.atlas import read_card, read_label_table, read_neuropythy, read_regions

CARDS = ("wang15", "benson14", "glasser16", "freesurfer-annot", "nsd-rois", "pycortex-overlays")
LEFT = np.array([0, 1, 1, 2, 0, 2])
RIGHT = np.array([2, 2, 0, 3, 3])


@pytest.fixture
def space():
    """Eleven vertices, shuffled, one of each side missing."""
    return VertexSpace("toy", 6, 5, np.array([10, 3, 1, 2, 5, 0, 6, 7, 9]))


def wanted(space, number):
    return np.concatenate([LEFT, RIGHT])[space.vertices] == number


def write_mgz(path, values):
    nib.save(nib.MGHImage(np.asarray(values, np.float32)[:, None, None], np.eye(4)), path)
    return path


def check(regions, space):
    assert set(regions) == {"V1", "V2", "V3"}
    for number, name in enumerate(("V1", "V2", "V3"), start=1):
        np.testing.assert_array_equal(regions[name], wanted(space, number))


@pytest.mark.parametrize("name", CARDS)
def test_every_card_is_complete(name):
    card = read_card(name)
    assert card["name"] == name
    labels = card.get("labels", [])
    assert len(labels) == {"wang15": 25, "benson14": 12, "glasser16": 180}.get(name, 0) == len(set(labels))
    assert all(isinstance(label, str) for label in labels)


def test_an_unknown_atlas_names_the_known_ones():
    with pytest.raises(DataError, match="'wang51' is unknown.*wang15"):
        read_card("wang51")


def test_annot(space, tmp_path):
    table = np.array([[k, 10 * k, 0, 0, 0] for k in range(4)])
    names = ["Unknown", "V1", "V2", "V3"]
    for half, values in (("lh", LEFT), ("rh", RIGHT)):
        nib.freesurfer.write_annot(str(tmp_path / f"{half}.a.annot"), values, table, names, fill_ctab=True)
    check(read_regions(space, {"left": tmp_path / "lh.a.annot", "right": tmp_path / "rh.a.annot"}), space)


def test_label_of_one_hemisphere(space, tmp_path):
    lines = ["#!ascii label", "2", "1 0 0 0 0", "3 0 0 0 0"]
    (tmp_path / "lh.FFA.label").write_text("\n".join(lines) + "\n")
    regions = read_regions(space, {"left": tmp_path / "lh.FFA.label"})
    np.testing.assert_array_equal(regions["FFA"], np.isin(space.vertices, [1, 3]))
    (tmp_path / "rh.FFA.label").write_text("\n".join([*lines[:3], "30 0 0 0 0"]) + "\n")
    with pytest.raises(DataError, match="names vertex 30 but the hemisphere has 5"):
        read_regions(space, {"right": tmp_path / "rh.FFA.label"})


@pytest.mark.parametrize("kind", ["tsv", "ctab", "dict"])
def test_mgz_with_a_label_table(space, tmp_path, kind):
    files = {"left": write_mgz(tmp_path / "lh.mgz", LEFT), "right": write_mgz(tmp_path / "rh.mgz", RIGHT)}
    (tmp_path / "labels.tsv").write_text("name\tindex\nV1\t1\nV2\t2\nV3\t3\n")
    (tmp_path / "labels.ctab").write_text("# colours\n0 Unknown 0 0 0 0\n1 V1 9 9 9 0\n2 V2 9 9 9 0\n3 V3 9 9 9 0\n")
    labels = {"dict": {1: "V1", 2: "V2", 3: "V3"}}.get(kind, tmp_path / f"labels.{kind}")
    check(read_regions(space, files, labels), space)


def test_numbers_are_names_without_a_table_and_minus_one_is_nothing(space, tmp_path):
    files = {"left": write_mgz(tmp_path / "lh.mgz", np.where(LEFT == 0, -1, LEFT))}
    assert set(read_regions(space, files)) == {"1", "2"}


def test_gifti_labels_with_their_own_table(space, tmp_path):
    files = {}
    for side, values in (("left", LEFT), ("right", RIGHT)):
        table = nib.gifti.GiftiLabelTable()
        for key, name in enumerate(("???", "V1", "V2", "V3")):
            entry = nib.gifti.GiftiLabel(key)
            entry.label = name
            table.labels.append(entry)
        array = nib.gifti.GiftiDataArray(values.astype(np.int32), "NIFTI_INTENT_LABEL", "NIFTI_TYPE_INT32")
        files[side] = tmp_path / f"{side}.label.gii"
        nib.save(nib.gifti.GiftiImage(labeltable=table, darrays=[array]), files[side])
    check(read_regions(space, files), space)


def test_swapped_files_are_caught_by_their_size(space, tmp_path):
    files = {"left": write_mgz(tmp_path / "rh.mgz", RIGHT), "right": write_mgz(tmp_path / "lh.mgz", LEFT)}
    with pytest.raises(DataError, match="holds 5 vertices but the hemisphere has 6"):
        read_regions(space, files)


def test_nifti_label_volume(tmp_path):
    labels = np.random.default_rng(0).integers(-1, 3, (4, 5, 6)).astype(np.int16)
    space = VoxelSpace(labels >= 0, np.diag([2.0, 2, 2, 1]))
    nib.save(nib.Nifti1Image(labels, space.affine), tmp_path / "floc-faces.nii.gz")
    (tmp_path / "t.ctab").write_text("0 Unknown\n1 OFA\n2 FFA-1\n")
    regions = read_regions(space, tmp_path / "floc-faces.nii.gz", tmp_path / "t.ctab")
    assert set(regions) == {"OFA", "FFA-1"}
    np.testing.assert_array_equal(regions["FFA-1"], labels[space.mask] == 2)
    with pytest.raises(DataError, match="resample"):
        read_regions(VoxelSpace(space.mask, np.diag([3.0, 2, 2, 1])), tmp_path / "floc-faces.nii.gz")


@pytest.mark.parametrize("name", ["wang15", "benson14", "glasser16"])
def test_neuropythy_files_of_fsaverage_serve_fsaverage5(tmp_path, name):
    space = VertexSpace("fsaverage5", 10242, 10242, np.arange(20484))
    suffix = {"wang15": "wang15_mplbl.v1_0", "benson14": "benson14_varea.v4_0", "glasser16": "glasser16_atlas.v1_0"}[
        name
    ]
    number = np.zeros(163842)
    number[:3], number[20000] = 1, 2
    write_mgz(tmp_path / f"lh.{suffix}.mgz", number)
    write_mgz(tmp_path / f"rh.{suffix}.mgz", np.roll(number, 5))
    regions = read_neuropythy(name, space, tmp_path)
    assert list(regions) == [read_card(name)["labels"][0]]
    assert np.flatnonzero(next(iter(regions.values()))).tolist() == [0, 1, 2, 10247, 10248, 10249]


def test_neuropythy_needs_fsaverage_a_known_name_and_a_copy(space, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="wanted an fsaverage mesh"):
        read_neuropythy("wang15", space)
    with pytest.raises(DataError, match="'wang' is unknown"):
        read_neuropythy("wang", space)
    monkeypatch.setattr("brainenc.surfaces.atlas.find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed: pip install neuropythy"):
        read_neuropythy("wang15", VertexSpace("fsaverage5", 10242, 10242, np.arange(5)))


def test_errors_are_one_sentence(space, tmp_path):
    mgz = write_mgz(tmp_path / "lh.mgz", LEFT)
    half = write_mgz(tmp_path / "half.mgz", LEFT + 0.5)
    (tmp_path / "bad.annot").write_bytes(b"no")
    (tmp_path / "bad.tsv").write_text("index\tname\none\tV1\n")
    (tmp_path / "x.txt").write_text("")
    voxels = VoxelSpace(np.ones((2, 2, 2), bool), np.eye(4))
    for call, words in (
        (lambda: read_regions(space, {"left": mgz}, {1: "V1"}), "number 2 has no name"),
        (lambda: read_regions(space, {"left": half}), "not an atlas"),
        (lambda: read_regions(space, {"left": tmp_path / "bad.annot"}), "not a FreeSurfer annotation"),
        (lambda: read_regions(space, {"left": tmp_path / "no.annot"}), "no such file"),
        (lambda: read_regions(space, {"left": tmp_path / "x.txt"}), "cannot read .txt"),
        (lambda: read_regions(space, {"lh": mgz}), "'left' and 'right'"),
        (lambda: read_regions(space, mgz), "'left' and 'right'"),
        (lambda: read_regions(voxels, {"left": mgz}), "one NIfTI label volume"),
        (lambda: read_regions(voxels, tmp_path / "x.txt"), "not a readable label volume"),
        (lambda: read_regions(ParcelSpace(("a",)), mgz), "parcel space has no atlas files"),
        (lambda: read_label_table(tmp_path / "bad.tsv"), "line 2"),
    ):
        with pytest.raises(DataError, match=words):
            call()
