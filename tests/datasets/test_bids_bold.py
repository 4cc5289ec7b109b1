"""BOLD to betas: nilearn's FirstLevelModel as oracle, planted betas recovered, malformed folders refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel, make_first_level_design_matrix

from brainenc.core.align import rows_of
from brainenc.core.protocols import Dataset
from brainenc.core.types import DataError
from brainenc.datasets import build
from brainenc.datasets.bids_bold import BidsBoldDataset
from brainenc.datasets.glm import percent_signal_change
from brainenc.datasets.planted_bids import write_bids
from brainenc.datasets.planted_movies import PlantedMoviesDataset
from brainenc.world.movies import AR, DRIFT, MOTION_REGION

TR, N_VOLUMES, SHAPE, TASK = 2.0, 120, (4, 3, 2), "see"
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
ONSETS = {"1": {"face": [10, 90, 170], "house": [50, 130, 205]}, "2": {"face": [22, 70, 190], "house": [40, 110, 150]}}
MASK = np.random.default_rng(3).random(SHAPE) < 0.7
BETAS = {name: np.random.default_rng(i).uniform(0.5, 3.0, int(MASK.sum())) for i, name in enumerate(("face", "house"))}


def events_of(run: str) -> pd.DataFrame:
    rows = [(onset, 6.0, name) for name, onsets in ONSETS[run].items() for onset in onsets]
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type"]).sort_values("onset", ignore_index=True)


def bold_of(run: str, noise: float, confound: np.ndarray | None = None) -> np.ndarray:
    """(x, y, z, volumes): a baseline of 500, percent signal change through the SPM response, slow drift, noise."""
    rng = np.random.default_rng(int(run))
    frames = np.arange(N_VOLUMES) * TR
    design = make_first_level_design_matrix(frames, events_of(run), hrf_model="spm", drift_model=None)
    percent = sum(np.outer(design[name], BETAS[name]) for name in BETAS)
    percent = percent - percent.mean(axis=0) + np.linspace(-1, 1, N_VOLUMES)[:, None]
    percent = percent + noise * rng.normal(size=percent.shape)
    if confound is not None:
        percent = percent + 3 * confound[:, None]
    data = np.full((*SHAPE, N_VOLUMES), 7.0)
    data[MASK] = (500 * (1 + percent / 100)).T
    return data


def image(array: np.ndarray, dtype: type = np.float32, tr: float = TR, affine: np.ndarray = AFFINE) -> nib.Nifti1Image:
    made = nib.Nifti1Image(array.astype(dtype), affine)
    if array.ndim == 4:
        made.header.set_zooms((3, 3, 3, tr))
        made.header.set_xyzt_units("mm", "sec")
    return made


def stem(root: Path, run: str) -> Path:
    return root / "sub-01" / "func" / f"sub-01_task-{TASK}_run-{run}"


def write_events(root: Path, run: str, table: pd.DataFrame) -> None:
    table.to_csv(f"{stem(root, run)}_events.tsv", sep="\t", index=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A raw BIDS folder of one subject and two runs, a mask at its root."""
    make_bids(tmp_path)
    return tmp_path


def make_bids(root: Path, noise: float = 0.2, confound: np.ndarray | None = None) -> None:
    stem(root, "1").parent.mkdir(parents=True)
    for run in ONSETS:
        nib.save(image(bold_of(run, noise, confound)), f"{stem(root, run)}_bold.nii.gz")
        write_events(root, run, events_of(run))
    (root / f"task-{TASK}_bold.json").write_text(json.dumps({"RepetitionTime": TR, "TaskName": TASK}))
    nib.save(image(MASK, np.uint8), root / "mask.nii.gz")


def dataset(root: Path, **arguments: object) -> BidsBoldDataset:
    return BidsBoldDataset(root, TASK, **{"mask": "mask.nii.gz", **arguments})


def refused(call, *words: object) -> None:
    """The call raises one DataError: one line, one full stop at its end, naming all ``words``, with a cure."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ": " in message, message
    for word in words:
        assert str(word) in message, f"{word!r} not in {message!r}"


# ----------------------------------------------------------------------------------------------------------- oracle


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"noise_model": "ols", "hrf_model": "glover"}, {"noise_model": "ols", "hrf_model": "glover"}),
        ({"drift_model": 2}, {"drift_model": "polynomial", "drift_order": 2}),
        ({"high_pass": 0.02, "slice_time_ref": 0.5}, {"high_pass": 0.02, "slice_time_ref": 0.5}),
        ({"smoothing": 5.0}, {"smoothing_fwhm": 5.0}),
    ],
)
def test_conditions_equal_nilearn(root: Path, ours: dict, theirs: dict) -> None:
    responses = dataset(root, estimate="condition_per_run", **ours).responses("01")
    expected = []
    for run in ("1", "2"):
        model = FirstLevelModel(**{"t_r": TR, "hrf_model": "spm", "mask_img": root / "mask.nii.gz", **theirs})
        model.fit(f"{stem(root, run)}_bold.nii.gz", events=events_of(run))
        for name in ("face", "house"):
            expected.append(model.compute_contrast(name, output_type="effect_size").get_fdata()[MASK])
    np.testing.assert_allclose(responses.values, expected, rtol=1e-4, atol=1e-4)
    assert list(responses.stimulus_ids) == ["face", "house"] * 2
    assert list(responses.column("run")) == ["1", "1", "2", "2"]
    assert list(responses.column("n_trials")) == [3] * 4


def test_trials_all_at_once_equal_nilearn(root: Path) -> None:
    responses = dataset(root).responses("01")
    row = 0
    for run in ("1", "2"):
        events = events_of(run)
        model = FirstLevelModel(t_r=TR, hrf_model="spm", mask_img=root / "mask.nii.gz")
        model.fit(f"{stem(root, run)}_bold.nii.gz", events=events.assign(trial_type=[f"t{i}" for i in events.index]))
        for i, event in events.iterrows():
            effect = model.compute_contrast(f"t{i}", output_type="effect_size").get_fdata()[MASK]
            np.testing.assert_allclose(responses.values[row], effect, rtol=1e-4, atol=1e-4)
            assert responses.stimulus_ids[row] == event["trial_type"]
            assert responses.column("onset")[row] == event["onset"]
            row += 1
    assert row == responses.n_samples
    assert list(responses.column("repetition")[responses.stimulus_ids == "face"]) == [1, 2, 3, 4, 5, 6]


def test_trials_one_at_a_time_equal_nilearn(root: Path) -> None:
    responses = dataset(root, trial_model="lss").responses("01")
    events = events_of("1")
    for i in (0, 4):
        alone = events.assign(trial_type=["this" if j == i else f"other_{events.trial_type[j]}" for j in events.index])
        model = FirstLevelModel(t_r=TR, hrf_model="spm", mask_img=root / "mask.nii.gz")
        model.fit(f"{stem(root, '1')}_bold.nii.gz", events=alone)
        effect = model.compute_contrast("this", output_type="effect_size").get_fdata()[MASK]
        np.testing.assert_allclose(responses.values[i], effect, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------------- planted truth


def recovers(root: Path, **arguments: object) -> bool:
    """All betas within 0.3 % of the planted ones (they span 0.5 to 3 %); standard errors are about 0.03 %."""
    responses = dataset(root, estimate="condition_per_run", **arguments).responses("01")
    truth = np.stack([BETAS[name] for name in responses.stimulus_ids])
    return bool(np.abs(responses.values - truth).max() < 0.3)


def test_planted_betas_are_recovered_and_late_events_fail(root: Path) -> None:
    assert recovers(root)
    for run in ONSETS:
        write_events(root, run, events_of(run).assign(onset=lambda table: table["onset"] + 5.0))
    assert not recovers(root)
    assert recovers(root, onset_shift=-5.0)


@pytest.fixture(scope="module")
def movies_folder(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three runs of 15 clips each with rest between them, written as BIDS; what was planted, and what was measured."""
    data = PlantedMoviesDataset(seed=8, subjects=["01"], n_films=2, n_clips=15, n_repetitions=1, rest=4, ncsnr_scale=2)
    arguments = write_bids(data, tmp_path_factory.mktemp("bids"))
    return SimpleNamespace(arguments=arguments, truth=data.truth("01"), measured=data.responses("01"))


def found_and_planted(folder: SimpleNamespace, **arguments: object) -> tuple[np.ndarray, np.ndarray]:
    """Single-trial betas and planted amplitudes of all trials, both (n_trials, n_targets)."""
    responses = BidsBoldDataset(**{**folder.arguments, **arguments}).responses("01")
    return responses.values, folder.truth.amplitude[rows_of(responses.stimulus_ids, folder.truth.clip_ids, "clips")]


def slope(found: np.ndarray, planted: np.ndarray) -> float:
    """Of a line through the origin: what one per cent planted becomes; 1 if the scale is right."""
    return float((found * planted).sum() / (planted**2).sum())


def test_betas_of_trials_are_the_planted_amplitudes_within_their_standard_errors(movies_folder) -> None:
    """45 trials in 280 targets. Cosine drift lies in the design; the rest of the noise is autoregressive, so that
    ``cov = (X'X)^-1 X' V X (X'X)^-1`` is exact for ordinary least squares. z of all betas must have sd 1, to 4 %."""
    measured, truth = movies_folder.measured, movies_folder.truth
    found, planted = found_and_planted(movies_folder, noise_model="ols")
    constant = truth.region != MOTION_REGION  # a clip's categories do not change; its motion does
    z, start = [], 0
    for label, matrix in BidsBoldDataset(**movies_folder.arguments).design_matrices("01"):
        X, rows = matrix.to_numpy(), slice(start, start + 15)
        lag = np.abs(np.subtract.outer(np.arange(len(X)), np.arange(len(X))))
        P = np.linalg.pinv(X)
        error = np.sqrt(np.diag(P @ (AR**lag) @ P.T)[:15, None] * (1 - DRIFT)) * truth.noise_sd
        mean = (
            1 + measured.values[measured.column("run") == int(label)].mean(axis=0) / 100
        )  # per cent of the run's mean
        z.append(((found[rows] * mean - planted[rows]) / error)[:, constant])
        start += 15
    assert np.std(z) == pytest.approx(1, abs=0.04) and abs(np.mean(z)) < 0.1
    for region in ("FFA-1", "PPA", MOTION_REGION):
        here = truth.region == region
        assert np.corrcoef(found[:, here].ravel(), planted[:, here].ravel())[0, 1] > 0.6
    assert slope(found, planted) == pytest.approx(1, abs=0.06)
    assert slope(*found_and_planted(movies_folder)) == pytest.approx(1, abs=0.06)  # and by ar1


@pytest.mark.parametrize(("n_trs", "at_most"), [(1, 0.85), (2, 0.4)])
def test_events_late_by_volumes_break_the_betas(movies_folder, n_trs: int, at_most: float) -> None:
    shift = n_trs * movies_folder.measured.tr
    assert slope(*found_and_planted(movies_folder, onset_shift=shift, noise_model="ols")) < at_most


def test_a_wrong_tr_breaks_the_betas(movies_folder, tmp_path: Path) -> None:
    shutil.copytree(movies_folder.arguments["root"], tmp_path / "wrong")
    (tmp_path / "wrong" / "task-movies_bold.json").write_text(json.dumps({"RepetitionTime": 2.2}))
    wrong = {"root": tmp_path / "wrong", "noise_model": "ols"}
    refused(lambda: found_and_planted(movies_folder, **wrong), "the header says a TR of 2 s")
    for path in (tmp_path / "wrong").rglob("*_bold.nii.gz"):
        bold = nib.load(path)
        zoomed = nib.Nifti1Image(bold.get_fdata(dtype=np.float32), bold.affine, bold.header)
        zoomed.header.set_zooms((3, 3, 3, 2.2))
        nib.save(zoomed, path)
    assert slope(*found_and_planted(movies_folder, **wrong)) < 0.6


def test_swapped_trials_break_the_betas(movies_folder, tmp_path: Path) -> None:
    shutil.copytree(movies_folder.arguments["root"], tmp_path / "wrong")
    for path in (tmp_path / "wrong").rglob("*_events.tsv"):
        events = pd.read_csv(path, sep="\t")
        events["stimulus_id"] = events["stimulus_id"].to_numpy()[::-1]
        events.to_csv(path, sep="\t", index=False)
    found, planted = found_and_planted(movies_folder, root=tmp_path / "wrong", noise_model="ols")
    means = [x - x.mean(axis=0) for x in (found, planted)]
    assert slope(*means) < 0.5


def fmriprep(root: Path, confound: np.ndarray) -> Path:
    """Move the BOLD into derivatives, with a mask and confounds beside each run."""
    func = root / "derivatives" / "fmriprep" / "sub-01" / "func"
    func.mkdir(parents=True)
    for i, run in enumerate(ONSETS):
        name = f"sub-01_task-{TASK}_run-{run}"
        raw = stem(root, run).with_name(f"{name}_bold.nii.gz")
        raw.rename(func / f"{name}_space-MNI_desc-preproc_bold.nii.gz")
        mask = MASK.copy()
        mask[np.unravel_index(np.flatnonzero(MASK)[i], SHAPE)] = False  # each run lacks another voxel
        nib.save(image(mask, np.uint8), func / f"{name}_space-MNI_desc-brain_mask.nii.gz")
        derivative = np.r_[np.nan, np.diff(confound)]
        table = pd.DataFrame({"trans_x": confound, "trans_x_derivative1": derivative, "other": np.nan})
        table.to_csv(func / f"{name}_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
    return func


def test_confounds_of_fmriprep_rescue_the_betas(tmp_path: Path) -> None:
    design = make_first_level_design_matrix(
        np.arange(N_VOLUMES) * TR, events_of("1"), hrf_model="spm", drift_model=None
    )
    confound = design["face"].to_numpy() + 0.3 * np.random.default_rng(5).normal(size=N_VOLUMES)
    make_bids(tmp_path, confound=confound)
    fmriprep(tmp_path, confound)

    def face_error(**arguments: object) -> float:
        made = BidsBoldDataset(
            tmp_path, TASK, derivatives="derivatives/fmriprep", estimate="condition_per_run", **arguments
        )
        made.check()
        responses = made.responses("01")
        assert responses.n_targets == MASK.sum() - 2  # where the masks overlap
        truth = np.stack([BETAS[name][2:] for name in responses.stimulus_ids])
        return float(np.abs(responses.values - truth).max())

    assert face_error() > 1.5
    assert face_error(confounds=["trans_x*"]) < 0.6


def test_start_time_of_the_sidecar_moves_the_frames(root: Path) -> None:
    half = dataset(root, slice_time_ref=0.5).design_matrices("01")[0][1]
    (root / f"task-{TASK}_bold.json").write_text(json.dumps({"RepetitionTime": TR, "StartTime": TR / 2}))
    pd.testing.assert_frame_equal(dataset(root).design_matrices("01")[0][1], half)


def test_nuisance_is_modelled_and_not_returned_and_ignored_is_neither(root: Path) -> None:
    nuisance = dataset(root, nuisance=["house"])
    assert set(nuisance.responses("01").stimulus_ids) == {"face"}
    assert "nuisance house" in nuisance.design_matrices("01")[0][1]
    ignored = dataset(root, ignore=["house"], estimate="condition_per_run")
    assert "house" not in ignored.design_matrices("01")[0][1]
    assert list(ignored.stimuli().ids) == ["face"]


def test_dead_voxels_are_nan_and_the_others_untouched(root: Path) -> None:
    sound = dataset(root).responses("01").values
    data = bold_of("1", 0.2)
    where = np.argwhere(MASK)
    data[tuple(where[0])] = 42.0
    data[tuple(where[1])] = np.nan
    nib.save(image(data), f"{stem(root, '1')}_bold.nii.gz")
    dataset(root).check()
    values = dataset(root).responses("01").values
    assert np.isnan(values[:, :2]).all()
    np.testing.assert_allclose(values[:, 2:], sound[:, 2:], rtol=1e-4, atol=1e-4)


def test_percent_signal_change_does_not_depend_on_gain() -> None:
    bold = np.random.default_rng(0).uniform(90, 110, (30, 4))
    one, _ = percent_signal_change(bold)
    np.testing.assert_allclose(percent_signal_change(0.001 * bold)[0], one, atol=1e-9)
    np.testing.assert_allclose(one.mean(axis=0), 0, atol=1e-9)


# --------------------------------------------------------------------------------------------------- stimuli, files


def test_stimuli_have_words_and_regions_masks(root: Path) -> None:
    for run in ONSETS:
        write_events(root, run, events_of(run).replace("face", "human_face"))
    labels = np.zeros(SHAPE, np.int16)
    labels[:2] = 1
    nib.save(image(labels, np.int16), root / "roi.nii.gz")
    (root / "roi.tsv").write_text("index\tname\n1\tfront\n")
    made = build("bids_bold", root=root, task=TASK, mask="mask.nii.gz", regions="roi.nii.gz")
    assert isinstance(made, Dataset)
    made.check()
    assert made.subjects == ("01",)
    stimuli = made.stimuli(root)
    assert dict(stimuli.table["text"]) == {"house": "house", "human_face": "human face"}
    assert "path" not in stimuli.table
    np.testing.assert_array_equal(made.regions("01")["front"], labels[MASK] == 1)


def test_stim_files_become_stimuli_with_paths(root: Path) -> None:
    from PIL import Image

    (root / "stimuli").mkdir()
    for run in ONSETS:
        events = events_of(run)
        events["stim_file"] = [f"{name}{i % 2}.png" for i, name in enumerate(events["trial_type"])]
        events.loc[0, "stim_file"] = "n/a"
        for name in events["stim_file"][1:]:
            Image.new("L", (4, 4)).save(root / "stimuli" / name)
        write_events(root, run, events)
    made = dataset(root)
    made.check()
    stimuli = made.stimuli()
    responses = made.responses("01")
    assert set(responses.stimulus_ids) == set(stimuli.ids) and "n/a" not in stimuli.ids
    assert responses.n_samples == 10  # the trial without a stimulus is modelled only
    assert all(Path(path).is_file() for path in stimuli.table["path"])
    (root / "stimuli" / stimuli.ids[0]).unlink()
    refused(made.check, stimuli.ids[0], "missing")


def test_a_column_of_numbers_can_name_stimuli(root: Path) -> None:
    for run in ONSETS:
        write_events(root, run, events_of(run).assign(picture=[f"{i:03d}" for i in range(6)]))
    assert list(dataset(root, stimulus_column="picture").responses("01").stimulus_ids[:2]) == ["000", "001"]


def test_sessions_have_runs_of_their_own(root: Path) -> None:
    for session in ("a", "b"):
        func = root / "sub-02" / f"ses-{session}" / "func"
        func.mkdir(parents=True)
        for run in ONSETS:
            name = f"sub-02_ses-{session}_task-{TASK}_run-{run}"
            nib.save(image(bold_of(run, 0.2)), func / f"{name}_bold.nii.gz")
            events_of(run).to_csv(func / f"{name}_events.tsv", sep="\t", index=False)
    made = dataset(root, estimate="condition_per_run")
    assert made.subjects == ("01", "02")
    responses = made.responses("02")
    assert list(dict.fromkeys(responses.column("run"))) == [f"ses-{s}_run-{r}" for s in "ab" for r in "12"]
    assert list(dict.fromkeys(responses.column("session"))) == ["a", "b"]


def test_surface_runs(root: Path) -> None:
    frames = np.arange(N_VOLUMES) * TR
    design = make_first_level_design_matrix(frames, events_of("1"), hrf_model="spm", drift_model=None)
    beta = {"L": 1.0, "R": 2.0}
    for side, size in beta.items():
        rows = 100 * (1 + size * design["face"].to_numpy()[:, None] / 100) * np.ones((1, 642))
        rows = rows + np.random.default_rng(0).normal(0, 0.05, rows.shape)
        arrays = [nib.gifti.GiftiDataArray(row.astype(np.float32)) for row in rows]
        path = stem(root, "1").with_name(f"sub-01_task-{TASK}_run-1_hemi-{side}_space-fsaverage3_bold.func.gii")
        nib.save(nib.gifti.GiftiImage(darrays=arrays), path)
    made = BidsBoldDataset(root, TASK, space="fsaverage3", estimate="condition_per_run")
    made.check()
    responses = made.responses("01")
    face = responses.values[list(responses.stimulus_ids).index("face")]
    for side, name in (("L", "left"), ("R", "right")):
        assert face[responses.space.hemisphere == name].mean() == pytest.approx(beta[side], abs=0.1)


# ------------------------------------------------------------------------------------------------------- refusals


def test_unknown_choices(root: Path) -> None:
    refused(lambda: build("bids_bold", root=root, task=TASK, hrf="spm"), "'hrf'", "hrf_model")
    refused(lambda: dataset(root, hrf_model="gamma"), "'gamma'", "spm, glover")
    refused(lambda: dataset(root, estimate="run"), "'run'", "condition_per_run")
    refused(lambda: dataset(root, drift_model=-1), "-1", "polynomial")


def test_nothing_there(root: Path, tmp_path: Path) -> None:
    refused(dataset(tmp_path / "x").check, "sub-*", "`root`")
    refused(BidsBoldDataset(root, "hear", mask="mask.nii.gz").check, "'hear'", TASK, "`task`")
    refused(dataset(root, space="MNI").check, "'MNI'", "`space`")
    refused(dataset(root, subjects=["09"]).check, "sub-09", "`subjects`")


def test_missing_events(root: Path) -> None:
    Path(f"{stem(root, '2')}_events.tsv").unlink()
    refused(dataset(root).check, "run-2_bold.nii.gz", "run-2_events.tsv", "add it")


def test_missing_mask(root: Path) -> None:
    refused(BidsBoldDataset(root, TASK).check, "run-1_bold.nii.gz", "mask", "`mask`")
    refused(dataset(root, mask="other.nii.gz").check, "other.nii.gz", "no such file")


def test_mask_of_another_grid(root: Path) -> None:
    nib.save(image(np.ones((4, 3, 3)), np.uint8), root / "mask.nii.gz")
    refused(dataset(root).check, "(4, 3, 2)", "(4, 3, 3)", "resample")
    nib.save(image(MASK, np.uint8, affine=AFFINE @ np.diag([-1, 1, 1, 1])), root / "mask.nii.gz")
    refused(dataset(root).check, "affine", "6 mm")


def test_missing_sidecar(root: Path) -> None:
    (root / f"task-{TASK}_bold.json").unlink()
    refused(dataset(root).check, "run-1_bold.nii.gz", "RepetitionTime", "`tr`")
    dataset(root, tr=TR).check()


def test_broken_sidecar(root: Path) -> None:
    (root / f"task-{TASK}_bold.json").write_text("{TR: 2}")
    refused(dataset(root).check, f"task-{TASK}_bold.json", "JSON")


@pytest.mark.parametrize(("value", "words"), [(2000, "2000"), ("2", "'2'"), (1.5, "the header says a TR of 2 s")])
def test_wrong_tr(root: Path, value: object, words: str) -> None:
    (root / f"task-{TASK}_bold.json").write_text(json.dumps({"RepetitionTime": value}))
    refused(dataset(root).check, "run-1_bold.nii.gz", words, "correct")


def test_tr_of_study_and_sidecar_disagree(root: Path) -> None:
    refused(dataset(root, tr=1.0).check, "the sidecar says a TR of 2 s", "1 s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"onset": [10.0, 50, 90, 130, 170, 999]}, "999"),
        ({"onset": [-4.0, 50, 90, 130, 170, 200]}, "-4"),
        ({"onset": ["n/a", 50, 90, 130, 170, 200]}, "'onset'"),
        ({"onset": ["soon"] * 6}, "'onset'"),
        ({"duration": [-1] * 6}, "negative"),
        ({"onset": [10.0, 10, 90, 130, 170, 200]}, "trial 1 at 10 s"),
        ({"trial_type": ["n/a"] * 6}, "no event is left"),
    ],
)
def test_wrong_events(root: Path, change: dict, words: str) -> None:
    write_events(root, "2", events_of("2").assign(**change))
    refused(dataset(root).check, "run-2_events.tsv", words)


def test_events_without_a_needed_column(root: Path) -> None:
    write_events(root, "1", events_of("1").drop(columns="trial_type"))
    refused(dataset(root, estimate="condition_per_run").check, "run-1_events.tsv", "'trial_type'", "add it")
    write_events(root, "1", events_of("1").drop(columns="duration"))
    refused(dataset(root).check, "run-1_events.tsv", "'duration'", "add it")


def test_unknown_stimulus_column(root: Path) -> None:
    refused(dataset(root, stimulus_column="picture").check, "run-1_events.tsv", "'picture'", "trial_type")


def test_more_confounds_than_volumes_can_tell_apart(root: Path) -> None:
    confound = np.random.default_rng(0).normal(size=N_VOLUMES)
    func = fmriprep(root, confound)
    many = pd.DataFrame(np.random.default_rng(1).normal(size=(N_VOLUMES, N_VOLUMES)), columns=None).add_prefix("c")
    many.to_csv(func / f"sub-01_task-{TASK}_run-1_desc-confounds_timeseries.tsv", sep="\t", index=False)
    made = BidsBoldDataset(root, TASK, derivatives="derivatives/fmriprep", confounds=["c*"])
    refused(made.check, "run-1_events.tsv", "cannot be told", "fewer confounds")


def test_wrong_confounds(root: Path) -> None:
    refused(dataset(root, confounds=["trans_x"]).check, "run-1_bold.nii.gz", "confounds_timeseries", "add it")
    func = fmriprep(root, np.random.default_rng(0).normal(size=N_VOLUMES))

    def made(*names: str) -> BidsBoldDataset:
        return BidsBoldDataset(root, TASK, derivatives="derivatives/fmriprep", confounds=names)

    refused(made("rot_q").check, "run-1_desc-confounds_timeseries.tsv", "'rot_q'", "trans_x")
    refused(made("other").check, "run-1_desc-confounds_timeseries.tsv", "'other'", "text or gaps")
    path = func / f"sub-01_task-{TASK}_run-2_desc-confounds_timeseries.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")
    refused(made("trans_x").check, path.name, "117 rows", "120 volumes")


def test_several_spaces_or_files_for_a_run(root: Path) -> None:
    for space in ("MNI", "T1w"):
        nib.save(image(bold_of("1", 0.2)), f"{stem(root, '1')}_space-{space}_desc-preproc_bold.nii.gz")
    refused(dataset(root).check, "MNI", "T1w", "`space`")
    dataset(root, space="MNI").check()
    nib.save(image(bold_of("1", 0.2)), f"{stem(root, '1')}_space-MNI_bold.nii.gz")
    refused(dataset(root, space="MNI").check, "run 1", "wanted one BOLD file")


def test_bold_cut_short_or_of_three_axes(root: Path) -> None:
    path = Path(f"{stem(root, '2')}_bold.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(dataset(root).check, path.name, "cut short")
    nib.save(image(bold_of("2", 0.2)[..., 0]), path)
    refused(dataset(root).check, path.name, "(4, 3, 2)", "join the volumes")
    refused(lambda: dataset(root).responses("01"), path.name, "(x, y, z, time)")


def test_empty_or_centred_bold(root: Path) -> None:
    data = bold_of("2", 0.2)
    nib.save(image(np.zeros_like(data)), f"{stem(root, '2')}_bold.nii.gz")
    refused(dataset(root).check, "run-2_bold.nii.gz", "empty inside the mask")
    nib.save(image(data - data.mean(axis=3, keepdims=True)), f"{stem(root, '2')}_bold.nii.gz")
    refused(dataset(root).check, "run-2_bold.nii.gz", "negative", "neither centred")
    refused(lambda: dataset(root).responses("01"), "run-2_bold.nii.gz", "negative", "neither centred")


def test_unknown_subject(root: Path) -> None:
    refused(lambda: dataset(root).responses("09"), "'09'", "01")
