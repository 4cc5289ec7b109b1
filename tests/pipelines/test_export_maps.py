"""export_maps and paint_maps in the spaces that other tools read: voxels and vertices of the toy."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.spaces import SensorSpace
from brainenc.core.types import TargetMap
from pipelines.export_maps import export_maps
from pipelines.study import resolve_study
from tests.pipelines.conftest import BROKEN, DEAD, N_TARGETS, run_steps, toy_config, write_toy
from tests.pipelines.toy_steps import folder_of, values_of

LABELS = {"ridge/a": "ridgeA", "banded/a+b": "bandedAB", "banded/a": "bandedA", "banded/b": "bandedB"}


def place(base, dataset, **config):
    study = resolve_study({**toy_config(base / "data", base / "results"), **config})
    study.config["dataset"].update(dataset)
    run_steps(study)
    return SimpleNamespace(study=study, folder=study.folder, subject=study.folder / "sub-01", base=base)


@pytest.fixture(scope="module")
def voxels(tmp_path_factory):
    """The toy's targets as 24 voxels of a 4 x 5 x 6 grid."""
    base = tmp_path_factory.mktemp("voxels")
    write_toy(base / "data")
    mask = np.zeros((4, 5, 6), np.uint8)
    mask.ravel()[np.random.default_rng(0).permutation(mask.size)[:N_TARGETS]] = 1
    affine = np.array([[-3.0, 0, 0, 60], [0, 3, 0, -70], [0, 0, 3.5, -40], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(mask, affine), base / "data" / "sub-01_mask.nii.gz")
    made = place(base, {"mask": "sub-{subject}_mask.nii.gz"})
    made.mask, made.affine = mask == 1, affine
    return made


@pytest.fixture(scope="module")
def vertices(tmp_path_factory):
    """The toy's targets as 24 vertices of fsaverage5, 12 a hemisphere."""
    base = tmp_path_factory.mktemp("vertices")
    write_toy(base / "data")
    chosen = np.concatenate([np.arange(12) * 800, 10242 + np.arange(12) * 800])
    np.save(base / "data" / "sub-01_vertices.npy", chosen)
    dataset = {"mesh": "fsaverage5", "vertices": "sub-{subject}_vertices.npy"}
    config = {"surface": {"mesh": "fsaverage5", "formats": ["png"]}, "export": {"task": "toy", "cifti": True}}
    made = place(base, dataset, **config)
    made.vertices = chosen
    return made


@pytest.mark.parametrize("label", LABELS)
def test_nifti_reads_back_as_the_map_on_the_grid_of_the_mask(voxels, label):
    name = f"sub-01_task-encoding_stat-correlation_desc-{LABELS[label]}_statmap"
    image = nib.load(voxels.subject / "derivatives" / f"{name}.nii.gz")
    np.testing.assert_allclose(image.affine, voxels.affine)
    volume = image.get_fdata()
    scores = values_of(folder_of(voxels, label) / "scores.h5")["correlation"]
    np.testing.assert_allclose(volume[voxels.mask], scores, rtol=1e-6)
    # What is not measured is not 0: neither outside the mask nor in unusable voxels.
    assert np.isnan(volume[~voxels.mask]).all()
    assert np.isnan(volume[voxels.mask][[DEAD, BROKEN]]).all()


def test_a_sidecar_tells_what_and_from_where(voxels):
    folder = voxels.subject / "derivatives"
    sidecar = json.loads((folder / "sub-01_task-encoding_stat-r2_desc-ridgeA_statmap.json").read_text())
    assert sidecar["Model"] == "ridge/a"
    assert sidecar["Units"] == "fraction of variance"
    assert sidecar["Provenance"]["step"] == "score_encoder"
    assert "train" in sidecar["CeilingMethod"]
    card = storage.read_json(folder_of(voxels, "ridge/a") / "encoder.json")
    assert sidecar["Sources"] == [f"{k}: {entry['sha256']}" for k, entry in card["provenance"]["inputs"].items()]
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".gz"}


def test_every_map_has_its_file_and_every_file_its_sidecar(voxels):
    folder = voxels.subject / "derivatives"
    images = sorted(folder.glob("*.nii.gz"))
    assert len(images) == 1 + 4 * len(LABELS)  # ceiling; four statistics a model
    assert all(path.with_name(path.name.replace(".nii.gz", ".json")).is_file() for path in images)


def test_voxels_without_a_surface_are_painted_as_slices(voxels):
    listed = storage.read_json(voxels.subject / "figures" / "figures.json")
    assert {entry["name"] for entry in listed} >= {"ceiling", "ridge_a_correlation", "banded_a+b_unique-b"}
    for entry in listed:
        assert all((voxels.subject / "figures" / file).stat().st_size > 1000 for file in entry["files"])
        assert entry["caption"]


@pytest.mark.slow
def test_gifti_and_cifti_hold_the_scores_at_their_vertices(vertices):
    folder = vertices.subject / "derivatives"
    scores = values_of(folder_of(vertices, "banded/a+b") / "scores.h5")["correlation"]
    whole = np.full(2 * 10242, np.nan)
    whole[vertices.vertices] = scores
    stem = "stat-correlation_desc-bandedAB_statmap"
    files = [next(folder.glob(f"sub-01_task-toy_*hemi-{side}*_{stem}.func.gii")) for side in "LR"]
    sides = [nib.load(file).darrays[0].data for file in files]
    np.testing.assert_allclose(np.concatenate(sides), whole, rtol=1e-6)
    cifti = nib.load(folder / f"sub-01_task-toy_space-fsaverage5_{stem}.dscalar.nii")
    found = np.asarray(cifti.dataobj)[0]
    models = {name: (where, model) for name, where, model in cifti.header.get_axis(1).iter_structures()}
    for side, offset in (("LEFT", 0), ("RIGHT", 10242)):
        where, model = models[f"CIFTI_STRUCTURE_CORTEX_{side}"]
        np.testing.assert_allclose(found[where], whole[offset + model.vertex], rtol=1e-6)


def test_parcels_are_a_table(toy):
    table = storage.read_table(
        toy.subject / "derivatives" / "sub-01_task-encoding_stat-correlation_desc-ridgeA_statmap.tsv"
    )
    scores = values_of(folder_of(toy, "ridge/a") / "scores.h5")["correlation"]
    np.testing.assert_allclose(table["correlation"], scores, rtol=1e-6)
    assert list(table["target"]) == list(storage.load_maps(toy.subject / "ceiling.h5")["ncsnr"].space.names)


def test_sensors_are_named_with_their_time(tmp_path):
    space = SensorSpace(("Oz", "Pz"), np.array([0.0, 0.1, 0.2])).select(
        np.array([True, False, True, False, True, True])
    )
    maps = {
        name: TargetMap(np.arange(4.0), space, name)
        for name in ("ceiling_correlation", "correlation", "r2", "normalised_correlation", "q_value")
    }
    made = {"versions": {"brainenc": "0"}, "parameters": {"rows_used": "test", "n_repetitions": 1}, "inputs": {}}
    storage.save_maps(tmp_path / "maps.h5", maps, made)
    storage.write_json(tmp_path / "card.json", {"diagnostics": {}, "folds": [], "provenance": made})
    parameters = {"models": ["ridge/a"], "study": "toy", "task": "x", "cifti": False, "notes": {}}
    maps_file, card = tmp_path / "maps.h5", tmp_path / "card.json"
    export_maps("01", maps_file, [maps_file], [card], parameters, tmp_path / "out")
    table = storage.read_table(tmp_path / "out" / "sub-01_task-x_stat-r2_desc-ridgeA_statmap.tsv")
    assert list(table["target"]) == ["Oz 0 s", "Oz 0.2 s", "Pz 0.1 s", "Pz 0.2 s"]


@pytest.mark.slow
def test_vertices_are_painted_flat_and_inflated(vertices):
    listed = storage.read_json(vertices.subject / "figures" / "figures.json")
    names = {entry["name"] for entry in listed}
    assert {"ceiling", "ridge_a_correlation", "banded_a+b_unique-a"} <= names
    assert any(name.endswith("_inflated") for name in names) and any(name.endswith("_reliability") for name in names)
