"""Your own data: every format gives back what was written, and every malformed folder gets one clear sentence."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from nibabel.cifti2 import cifti2_axes
from PIL import Image

from brainenc.core.protocols import Dataset
from brainenc.core.spaces import ParcelSpace, VertexSpace, VoxelSpace
from brainenc.core.types import DataError
from brainenc.datasets import REGISTRY, build
from brainenc.datasets.folder import FolderDataset
from brainenc.datasets.readers import _CHECKED_BYTES, Source, check_values

N, T = 6, 5
IDS = ["a", "b", "c"]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def write_tsv(path: Path, /, **columns: object) -> None:
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)


def values(n_targets: int = T) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, n_targets)).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound folder of one subject: three pictures shown twice, five targets in HDF5, two regions."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate(IDS):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / "images" / f"{name}.png")
    write_tsv(tmp_path / "stimuli.tsv", stimulus_id=IDS, path=[f"images/{i}.png" for i in IDS], text=IDS)
    write_tsv(tmp_path / "sub-01_samples.tsv", stimulus_id=IDS * 2, run=[1] * 3 + [2] * 3, repetition=[1] * 3 + [2] * 3)
    write_tsv(tmp_path / "sub-01_regions.tsv", region=["V1", "V1", "", "FFA", "FFA"])
    write_h5(tmp_path / "sub-01_responses.h5", values())
    return tmp_path


def write_h5(path: Path, array: np.ndarray, key: str = "responses") -> None:
    with h5py.File(path, "w") as file:
        file[key] = array


def refused(call, *words: object) -> str:
    """The call raises one DataError: one line, one full stop at its end, naming all ``words``, with a cure."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ": " in message, message
    for word in words:
        assert str(word) in message, f"{word!r} not in {message!r}"
    return message


# ---------------------------------------------------------------------------------------------------- sound folders


def test_a_sound_folder_gives_back_what_was_written(root: Path) -> None:
    dataset = build("folder", root=root, regions="sub-{subject}_regions.tsv", units="z", tr=2.0)
    assert isinstance(dataset, Dataset)
    dataset.check()
    assert dataset.subjects == ("01",)
    stimuli = dataset.stimuli(root)
    assert list(stimuli.ids) == IDS
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in stimuli.table["path"])
    responses = dataset.responses("01")
    assert isinstance(responses.values, h5py.Dataset)  # still on disk
    np.testing.assert_array_equal(responses.values[:], values())
    assert list(responses.stimulus_ids) == IDS * 2
    assert list(responses.column("repetition")) == [1, 1, 1, 2, 2, 2]
    assert (responses.units, responses.tr) == ("z", 2.0)
    regions = dataset.regions("01")
    np.testing.assert_array_equal(regions["V1"], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(regions["FFA"], [0, 0, 0, 1, 1])


def test_ids_that_look_like_numbers_or_gaps_stay_text(root: Path) -> None:
    ids = ["007", "NA", "1e3"]
    write_tsv(root / "stimuli.tsv", stimulus_id=ids)
    write_tsv(root / "sub-01_samples.tsv", stimulus_id=ids * 2)
    dataset = FolderDataset(root)
    dataset.check()
    assert list(dataset.responses("01").stimulus_ids) == ids * 2
    assert list(dataset.stimuli().ids) == ids


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_plain_arrays(root: Path, suffix: str, dtype: type) -> None:
    (root / "sub-01_responses.h5").unlink()
    array = (10 * values()).astype(dtype)
    path = root / f"sub-01_responses.{suffix}"
    {"npy": np.save, "npz": lambda p, a: np.savez(p, betas=a), "h5": write_h5}[suffix](path, array)
    dataset = FolderDataset(root)
    dataset.check()
    responses = dataset.responses("01")
    assert np.issubdtype(responses.values.dtype, np.floating)
    np.testing.assert_array_equal(responses.values[:], array)
    assert isinstance(responses.space, ParcelSpace)


def write_volume(root: Path, affine: np.ndarray = AFFINE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(3, 4, 2, N)).astype(np.float32)
    mask = rng.random((3, 4, 2)) < 0.5
    nib.save(nib.Nifti1Image(data, affine), root / "sub-01_responses.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), root / "sub-01_mask.nii.gz")
    return data, mask


NIFTI = {"responses": "sub-{subject}_responses.nii.gz", "mask": "sub-{subject}_mask.nii.gz"}


def test_nifti_rows_are_volumes_and_targets_scatter_back_to_their_voxels(root: Path) -> None:
    data, mask = write_volume(root)
    labels = np.zeros(mask.shape, np.int16)
    labels[0], labels[1] = 2, 5
    nib.save(nib.Nifti1Image(labels, AFFINE), root / "atlas.nii.gz")
    write_tsv(root / "atlas.tsv", index=[0, 2, 5], name=["none", "low", "high"])
    dataset = FolderDataset(root, regions="atlas.nii.gz", **NIFTI)
    dataset.check()
    responses = dataset.responses("01")
    assert isinstance(responses.space, VoxelSpace)
    for row in range(N):
        full = responses.space.scatter(responses.values[row])
        np.testing.assert_array_equal(full[mask], data[..., row][mask])
        assert np.isnan(full[~mask]).all()
    regions = dataset.regions("01")
    np.testing.assert_array_equal(responses.space.scatter(regions["high"].astype(float), 0) == 1, (labels == 5) & mask)
    assert set(regions) == {"low", "high"}


def write_gifti(path: Path, array: np.ndarray) -> None:
    arrays = [nib.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_NONE") for row in array.astype(np.float32)]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)


GIFTI = {"responses": "sub-{subject}_hemi-{hemisphere}_responses.func.gii"}


def test_gifti_pair_is_left_then_right(root: Path) -> None:
    left, right = values(642), -values(642)
    write_gifti(root / "sub-01_hemi-L_responses.func.gii", left)
    write_gifti(root / "sub-01_hemi-R_responses.func.gii", right)
    dataset = FolderDataset(root, **GIFTI)
    dataset.check()
    responses = dataset.responses("01")
    assert isinstance(responses.space, VertexSpace) and responses.space.mesh == "fsaverage3"
    np.testing.assert_array_equal(responses.values[:, responses.space.hemisphere == "left"], left)
    np.testing.assert_array_equal(responses.values[:, responses.space.hemisphere == "right"], right)


def brain_axis(sides: tuple[str, ...] = ("left", "right"), n: int = 642) -> cifti2_axes.BrainModelAxis:
    """Every second vertex of each cortex, then three voxels of the left thalamus."""
    mask = np.arange(n) % 2 == 0
    axes = [cifti2_axes.BrainModelAxis.from_mask(mask, f"cortex_{side}") for side in sides]
    thalamus = cifti2_axes.BrainModelAxis.from_mask(np.ones((3, 1, 1)), "thalamus_left", affine=AFFINE)
    return sum([*axes[1:], thalamus], axes[0])


def write_cifti(path: Path, rows: object, columns: object) -> np.ndarray:
    data = np.random.default_rng(2).normal(size=(len(rows), len(columns))).astype(np.float32)
    nib.save(nib.Cifti2Image(data, header=(rows, columns)), path)
    return data


def test_cifti_takes_the_cortex_and_counts_what_it_leaves_out(root: Path) -> None:
    rows = cifti2_axes.SeriesAxis(0, 1.5, N)
    data = write_cifti(root / "x.dtseries.nii", rows, brain_axis())
    dataset = FolderDataset(root, responses={"01": "x.dtseries.nii"})
    dataset.check()
    responses = dataset.responses("01")
    np.testing.assert_array_equal(responses.values, data[:, :642])
    np.testing.assert_array_equal(responses.space.vertices, np.arange(0, 1284, 2))
    assert responses.tr == 1.5
    assert dataset.describe("01")["n_columns_left_out"] == 3


def test_cifti_parcels(root: Path) -> None:
    parcels = cifti2_axes.ParcelsAxis(
        ["P1", "P2"],
        [np.zeros((0, 3), int)] * 2,
        [{"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([i])} for i in (0, 1)],
        nvertices={"CIFTI_STRUCTURE_CORTEX_LEFT": 642},
    )
    data = write_cifti(root / "x.pscalar.nii", cifti2_axes.ScalarAxis([f"t{i}" for i in range(N)]), parcels)
    responses = FolderDataset(root, responses={"01": "x.pscalar.nii"}).responses("01")
    np.testing.assert_array_equal(responses.values, data)
    assert responses.space == ParcelSpace(("P1", "P2"))


def test_columns_of_an_array_can_be_voxels_or_vertices(root: Path) -> None:
    _, mask = write_volume(root)
    np.save(root / "x.npy", values(int(mask.sum())))
    np.save(root / "vertices.npy", np.array([3, 1, 700]))
    np.save(root / "y.npy", values(3))
    voxels = FolderDataset(root, responses={"01": "x.npy"}, mask="sub-01_mask.nii.gz").responses("01")
    np.testing.assert_array_equal(voxels.space.mask, mask)
    vertices = FolderDataset(root, responses={"01": "y.npy"}, mesh="fsaverage3", vertices="vertices.npy")
    vertices.check()
    assert list(vertices.responses("01").space.hemisphere) == ["left", "left", "right"]


def test_regions_from_arrays(root: Path) -> None:
    with h5py.File(root / "r.h5", "w") as file:
        file["labels"], file["names"] = np.array([1, 0, 2, 2, 0]), np.array([b"V1", b"FFA"])
    np.savez(root / "r.npz", odd=np.arange(T) % 2 == 1, even=np.arange(T) % 2 == 0)
    labelled = FolderDataset(root, regions="r.h5").regions("01")
    assert {k: list(np.flatnonzero(v)) for k, v in labelled.items()} == {"V1": [0], "FFA": [2, 3]}
    boolean = FolderDataset(root, regions="r.npz").regions("01")
    assert list(np.flatnonzero(boolean["odd"])) == [1, 3]


def test_regions_from_a_gifti_pair(root: Path) -> None:
    table = nib.gifti.GiftiLabelTable()
    for key, name in enumerate(["???", "V1", "FFA"]):
        table.labels.append(nib.gifti.GiftiLabel(key=key))
        table.labels[-1].label = name
    for side, label in (("L", 1), ("R", 2)):
        labels = np.zeros(642, np.int32)
        labels[:10] = label
        arrays = [nib.gifti.GiftiDataArray(labels, intent="NIFTI_INTENT_LABEL")]
        nib.save(nib.gifti.GiftiImage(darrays=arrays, labeltable=table), root / f"hemi-{side}.label.gii")
    np.save(root / "v.npy", np.array([5, 20, 642 + 5]))
    np.save(root / "x.npy", values(3))
    pattern = "hemi-{hemisphere}.label.gii"
    dataset = FolderDataset(root, responses={"01": "x.npy"}, mesh="fsaverage3", vertices="v.npy", regions=pattern)
    dataset.check()
    assert {k: list(np.flatnonzero(v)) for k, v in dataset.regions("01").items()} == {"FFA": [2], "V1": [0]}
    refused(check(root, regions=pattern), "hemi-L.label.gii", "1284 vertices", "resample the labels")


def test_missing_values_are_allowed_and_counted(root: Path) -> None:
    array = values()
    array[2] = np.nan  # a lost trial
    array[:, 4] = np.nan  # a dead target
    array[0, 0] = np.nan  # a gap
    write_h5(root / "sub-01_responses.h5", array)
    dataset = FolderDataset(root)
    dataset.check()
    counts = dataset.describe("01")
    assert (counts["n_nan_samples"], counts["n_nan_targets"], counts["n_gap_targets"]) == (1, 1, 1)
    assert (counts["n_samples"], counts["n_stimuli"], counts["n_targets"]) == (N, 3, T)


def test_the_check_reads_a_bounded_part(tmp_path: Path) -> None:
    """A file sound at its start is not read to its end; one without a number so far is."""
    n_targets, n_samples = 2**20, 100
    read: list[int] = []

    def rows(start: int, stop: int, first_number: int) -> np.ndarray:
        read.append(stop - start)
        block = np.full((stop - start, n_targets), np.nan, np.float32)
        block[max(0, first_number - start) :, 0] = 1.0
        return block

    space = VertexSpace("x", n_targets, 0, np.arange(n_targets))
    check_values(Source(tmp_path, n_samples, space, lambda a, b: rows(a, b, 0), lambda: None))
    assert sum(read) * n_targets * 4 <= 1.5 * _CHECKED_BYTES
    read.clear()
    check_values(Source(tmp_path, n_samples, space, lambda a, b: rows(a, b, 60), lambda: None))
    assert 60 < sum(read) < n_samples


def test_subjects_are_discovered_and_can_be_chosen(root: Path) -> None:
    write_h5(root / "sub-02_responses.h5", values())
    (root / "sub-03_responses.json").write_text("{}")
    assert FolderDataset(root).subjects == ("01", "02")
    assert FolderDataset(root, subjects=["02"]).subjects == ("02",)
    assert FolderDataset(root, responses={"x": "sub-02_responses.h5"}).subjects == ("x",)


def test_every_registered_class_has_a_module() -> None:
    for name, target in REGISTRY.items():
        assert target.startswith("brainenc.datasets.") and ":" in target, name


# ------------------------------------------------------------------------------------------------ malformed folders


def test_unknown_class() -> None:
    refused(lambda: build("nsd", root="."), "'nsd'", "folder", "bids_bold", "planted")


def test_unknown_argument(root: Path) -> None:
    refused(lambda: build("folder", root=root, stimulus="x.tsv"), "'stimulus'", "stimuli", "responses")


def test_missing_argument() -> None:
    refused(lambda: build("folder"), "folder", "'root'", "add")


def check(root: Path, **arguments: object):
    return lambda: FolderDataset(root, **arguments).check()


def test_missing_root(tmp_path: Path) -> None:
    refused(lambda: FolderDataset(tmp_path / "nowhere").subjects, "nowhere", "root")
    refused(check(tmp_path / "nowhere"), "nowhere", "stimuli.tsv")


def test_missing_stimulus_table(root: Path) -> None:
    (root / "stimuli.tsv").unlink()
    refused(check(root), "stimuli.tsv", "no such file", "put it there")


def test_empty_stimulus_file(root: Path) -> None:
    (root / "stimuli.tsv").write_text("")
    refused(check(root), "stimuli.tsv", "empty")


def test_table_with_a_header_only(root: Path) -> None:
    (root / "stimuli.tsv").write_text("stimulus_id\tpath\n")
    refused(check(root), "stimuli.tsv", "no row", "add the rows")


def test_missing_column(root: Path) -> None:
    write_tsv(root / "stimuli.tsv", id=IDS)
    refused(check(root), "stimuli.tsv", "'stimulus_id'", "id", "add it")


def test_table_of_another_format(root: Path) -> None:
    (root / "stimuli.xlsx").write_bytes(b"PK")
    refused(check(root, stimuli="stimuli.xlsx"), "stimuli.xlsx", ".tsv or .csv")


def test_table_in_another_encoding(root: Path) -> None:
    (root / "stimuli.tsv").write_bytes("stimulus_id\ttext\na\tcaf\xe9\n".encode("latin-1"))
    refused(check(root), "stimuli.tsv", "UTF-8")


def test_ragged_table(root: Path) -> None:
    (root / "stimuli.tsv").write_text("stimulus_id\ttext\na\tx\nb\ty\tz\n")
    refused(check(root), "stimuli.tsv", "line 3")


def test_column_twice(root: Path) -> None:
    (root / "stimuli.tsv").write_text("stimulus_id\ttext\ttext\na\tx\ty\n")
    refused(check(root), "stimuli.tsv", "'text'", "twice")


def test_duplicate_stimulus_id(root: Path) -> None:
    write_tsv(root / "stimuli.tsv", stimulus_id=["a", "b", "b"])
    refused(check(root), "stimuli.tsv", "'b'", "more than once", "samples table")


def test_gap_in_stimulus_ids(root: Path) -> None:
    write_tsv(root / "stimuli.tsv", stimulus_id=["a", "", "c"], text=IDS)
    refused(check(root), "stimuli.tsv", "row 3", "fill it in")


def test_missing_image(root: Path) -> None:
    (root / "images" / "b.png").unlink()
    refused(check(root), "stimuli.tsv", "'b'", "b.png", "missing", "put it there")


def test_text_file_named_as_an_image(root: Path) -> None:
    (root / "images" / "b.png").write_text("hello")
    refused(check(root), "b.png", "not a readable image", "replace")


def test_image_cut_short(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(root / "images" / "b.png")
    whole = (root / "images" / "b.png").read_bytes()
    (root / "images" / "b.png").write_bytes(whole[: len(whole) // 2])
    refused(check(root), "b.png", "not a readable image", "replace")


def test_path_to_something_else(root: Path) -> None:
    (root / "words.docx").write_bytes(b"PK")
    write_tsv(root / "stimuli.tsv", stimulus_id=IDS, path=["images/a.png", "words.docx", "images/c.png"])
    refused(check(root), "words.docx", ".png", "column 'text'")


def test_no_responses(root: Path) -> None:
    (root / "sub-01_responses.h5").unlink()
    refused(check(root), "sub-{subject}_responses.{ext}", "put the responses there")
    refused(check(root, subjects=["01"]), "sub-01_responses", "no such file", "nii.gz")


def test_responses_twice(root: Path) -> None:
    np.save(root / "sub-01_responses.npy", values())
    refused(check(root), "sub-01_responses", "h5 and as npy", "name the suffix")


def test_unknown_subject(root: Path) -> None:
    refused(lambda: FolderDataset(root).responses("09"), "'09'", "01")
    refused(lambda: FolderDataset(root, subjects=[1]), "1", "quote it")


def test_unknown_placeholder(root: Path) -> None:
    refused(check(root, samples="sub-{sub}_samples.tsv"), "sub-{sub}_samples.tsv", "{subject}")


def test_unknown_format(root: Path) -> None:
    (root / "x.mat").write_bytes(b"MATLAB")
    refused(check(root, responses={"01": "x.mat"}), "x.mat", "'.mat'", ".h5", "convert")


def test_hdf5_cut_short(root: Path) -> None:
    path = root / "sub-01_responses.h5"
    path.write_bytes(path.read_bytes()[:-64])
    refused(check(root), path.name, "cut short", "copy it again")


def test_wrong_hdf5_key(root: Path) -> None:
    refused(check(root, key="betas"), "sub-01_responses.h5", "'betas'", "responses", "`key`")


def test_several_arrays_and_no_key(root: Path) -> None:
    np.savez(root / "x.npz", one=values(), two=values())
    refused(check(root, responses={"01": "x.npz"}), "x.npz", "one, two", "`key`")


def test_pickled_npy_is_never_opened(root: Path) -> None:
    np.save(root / "x.npy", np.array([{"a": 1}] * N, dtype=object))
    np.savez(root / "x.npz", responses=np.array([{"a": 1}] * N, dtype=object))
    for name in ("x.npy", "x.npz"):
        refused(check(root, responses={"01": name}), name, "pickled", "float32")


@pytest.mark.parametrize("bad", [np.array([["x"] * T] * N), values().astype(complex), values() > 0])
def test_what_is_not_a_real_number(root: Path, bad: np.ndarray) -> None:
    np.save(root / "x.npy", bad)
    refused(check(root, responses={"01": "x.npy"}), "x.npy", str(bad.dtype), "real numbers")


def test_wrong_number_of_axes(root: Path) -> None:
    np.save(root / "x.npy", np.zeros((N, 2, 2)))
    refused(check(root, responses={"01": "x.npy"}), "x.npy", "(6, 2, 2)", "(n_samples, n_targets)")


def test_all_nan(root: Path) -> None:
    write_h5(root / "sub-01_responses.h5", np.full((N, T), np.nan))
    refused(check(root), "sub-01_responses.h5", "every response is NaN")


def test_infinity(root: Path) -> None:
    array = values()
    array[3, 3] = np.inf
    write_h5(root / "sub-01_responses.h5", array)
    refused(check(root), "sub-01_responses.h5", "infinity", "write NaN")


def test_unknown_stimulus_in_samples(root: Path) -> None:
    write_tsv(root / "sub-01_samples.tsv", stimulus_id=["a", "b", "d"] * 2)
    refused(check(root), "sub-01_samples.tsv", "'d'", "row 4", "stimuli.tsv", "2 such rows")


def test_row_count_mismatch(root: Path) -> None:
    write_tsv(root / "sub-01_samples.tsv", stimulus_id=["a", "b", "c", "a"])
    refused(check(root), "sub-01_samples.tsv", "4 rows", "6 samples")


def test_targets_first(root: Path) -> None:
    write_h5(root / "sub-01_responses.h5", values().T)
    refused(check(root), "sub-01_samples.tsv", "turned round", "samples first")


def test_sample_listed_twice(root: Path) -> None:
    write_tsv(root / "sub-01_samples.tsv", stimulus_id=IDS * 2, repetition=[1] * 6)
    refused(check(root), "sub-01_samples.tsv", "row 5", "repeats", "number the repetitions")


def test_onset_in_words(root: Path) -> None:
    write_tsv(root / "sub-01_samples.tsv", stimulus_id=IDS * 2, onset=["early"] * 6)
    refused(check(root), "sub-01_samples.tsv", "'onset'", "seconds")


def test_missing_samples(root: Path) -> None:
    (root / "sub-01_samples.tsv").unlink()
    refused(check(root), "sub-01_samples.tsv", "no such file")


def test_bad_tr(root: Path) -> None:
    refused(check(root, tr=-2), "tr", "-2", "positive")


def test_nifti_without_a_mask(root: Path) -> None:
    write_volume(root)
    refused(check(root, responses=NIFTI["responses"]), "sub-01_responses.nii.gz", "`mask`")


def test_nifti_mask_of_another_shape(root: Path) -> None:
    write_volume(root)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 3), np.uint8), AFFINE), root / "sub-01_mask.nii.gz")
    refused(check(root, **NIFTI), "sub-01_responses.nii.gz", "(3, 4, 2)", "(3, 4, 3)", "resample")


def test_nifti_mask_of_another_affine(root: Path) -> None:
    write_volume(root, affine=AFFINE + np.array([[0, 0, 0, 1.5]] + [[0] * 4] * 3))
    refused(check(root, **NIFTI), "sub-01_responses.nii.gz", "affine", "1.5 mm", "resample")


@pytest.mark.parametrize(("value", "words"), [(0, "0 everywhere"), (3, "other than 0 and 1")])
def test_nifti_mask_that_is_no_mask(root: Path, value: int, words: str) -> None:
    write_volume(root)
    nib.save(nib.Nifti1Image(np.full((3, 4, 2), value, np.uint8), AFFINE), root / "sub-01_mask.nii.gz")
    refused(check(root, **NIFTI), "sub-01_mask.nii.gz", words)


def test_nifti_of_one_volume(root: Path) -> None:
    write_volume(root)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 2), np.float32), AFFINE), root / "sub-01_responses.nii.gz")
    refused(check(root, **NIFTI), "sub-01_responses.nii.gz", "(3, 4, 2)", "n_samples")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_cut_short(root: Path, suffix: str) -> None:
    write_volume(root)
    path = root / f"x.{suffix}"
    big = np.random.default_rng(0).normal(size=(3, 4, 2, N * 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(big, AFFINE), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(check(root, responses={"01": path.name}, mask=NIFTI["mask"]), path.name, "cut short", "copy it again")


def test_nifti_of_complex_numbers(root: Path) -> None:
    write_volume(root)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 2, N), np.complex64), AFFINE), root / "sub-01_responses.nii.gz")
    refused(check(root, **NIFTI), "sub-01_responses.nii.gz", "complex64", "float32")


def test_gifti_of_one_hemisphere(root: Path) -> None:
    write_gifti(root / "sub-01_hemi-L_responses.func.gii", values(642))
    refused(check(root, **GIFTI), "sub-01_hemi-R_responses.func.gii", "no such file")
    refused(check(root, responses={"01": "sub-01_hemi-L_responses.func.gii"}), "hemi-L", "{hemisphere}")


def test_gifti_of_an_unknown_mesh(root: Path) -> None:
    for side in "LR":
        write_gifti(root / f"sub-01_hemi-{side}_responses.func.gii", values(10))
    refused(check(root, **GIFTI), "hemi-L", "10 + 10", "`mesh`")
    refused(check(root, mesh="fsaverage5", **GIFTI), "hemi-L", "10242", "correct `mesh`")
    check(root, mesh="mine", **GIFTI)()


def test_cifti_with_wrong_axes(root: Path) -> None:
    write_cifti(root / "x.dscalar.nii", brain_axis(), brain_axis())
    refused(check(root, responses={"01": "x.dscalar.nii"}), "x.dscalar.nii", "BrainModelAxis", ".dtseries.nii")


def test_cifti_of_one_hemisphere(root: Path) -> None:
    write_cifti(root / "x.dscalar.nii", cifti2_axes.ScalarAxis(list("abcdef")), brain_axis(("left",)))
    refused(check(root, responses={"01": "x.dscalar.nii"}), "x.dscalar.nii", "CORTEX_RIGHT", "both hemispheres")


def test_wrong_mask_for_an_array(root: Path) -> None:
    write_volume(root)
    np.save(root / "x.npy", values(3))
    refused(check(root, responses={"01": "x.npy"}, mask=NIFTI["mask"]), "x.npy", "3 columns", "sub-01_mask.nii.gz")


@pytest.mark.parametrize("bad", [[1, 1, 2], [0, 1, 1284], [0.5, 1.5, 2.5]])
def test_wrong_vertices(root: Path, bad: list[float]) -> None:
    np.save(root / "v.npy", np.array(bad))
    np.save(root / "x.npy", values(3))
    refused(check(root, responses={"01": "x.npy"}, mesh="fsaverage3", vertices="v.npy"), "v.npy")


def test_regions_of_wrong_length(root: Path) -> None:
    write_tsv(root / "r.tsv", region=["V1"] * 4)
    np.savez(root / "r.npz", labels=np.ones(7, int), names=np.array(["V1"]))
    refused(check(root, regions="r.tsv"), "r.tsv", "4 targets", "have 5")
    refused(check(root, regions="r.npz"), "r.npz", "7 targets", "have 5")


def test_regions_without_names_or_targets(root: Path) -> None:
    np.savez(root / "r.npz", labels=np.array([0, 1, 2, 3, 0]), names=np.array(["V1", "V2"]))
    write_tsv(root / "r.tsv", region=["", ""] + [""] * 3, x=[0.5] * 5)
    refused(check(root, regions="r.npz"), "r.npz", "label 3", "no name")
    refused(check(root, regions="r.tsv"), "r.tsv", "no region covers")


def test_region_volume_for_an_array(root: Path) -> None:
    write_volume(root)
    plain = {"responses": "sub-{subject}_responses.h5", "regions": "sub-01_mask.nii.gz"}
    refused(check(root, **plain), "sub-01_mask.nii.gz", "parcel", "give a table")


def test_region_volume_without_names(root: Path) -> None:
    write_volume(root)
    refused(check(root, regions="sub-01_mask.nii.gz", **NIFTI), "sub-01_mask.tsv", "names of the labels")


def test_a_sound_folder_passes_the_same_check(root: Path) -> None:
    """The twin of all refusals: nothing of the above is raised where nothing is wrong."""
    write_volume(root)
    check(root, responses="sub-{subject}_responses.h5", regions="sub-{subject}_regions.tsv")()
    check(root, **NIFTI)()


def test_the_example_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "bring-your-own-data.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "bring-your-own-data.md", "exec"), {})
    study = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    dataset = build(study["dataset"].pop("class"), **study["dataset"])
    dataset.check()
    assert dataset.subjects == tuple(study["subjects"])
    assert dataset.responses("01").values.shape == (80, 100)
    assert {name: int(mask.sum()) for name, mask in dataset.regions("01").items()} == {"PPA": 50, "V1": 50}


def test_every_argument_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bring-your-own-data.md").read_text(encoding="utf-8")
    for name in ("folder", "bids_bold"):
        module, _, attribute = REGISTRY[name].partition(":")
        constructor = getattr(importlib.import_module(module), attribute)
        for argument in inspect.signature(constructor).parameters:
            assert argument in page, f"{name}: {argument}"
