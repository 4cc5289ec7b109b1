"""The planted movies: deterministic, honest, recovered by delayed ridge nearly up to the ceiling; written as BIDS."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from brainenc.core.align import rows_of
from brainenc.core.protocols import Dataset
from brainenc.core.types import DataError
from brainenc.datasets import build
from brainenc.datasets.bids_bold import BidsBoldDataset
from brainenc.datasets.planted_bids import write_bids
from brainenc.datasets.planted_movies import PlantedMoviesDataset
from brainenc.encoders.delay import Delayer
from brainenc.encoders.ridge import Ridge
from brainenc.stats import ceilings, metrics, splits
from brainenc.world import movies

DELAYS = tuple(range(9))
SMALL = {"n_films": 2, "n_clips": 5, "n_repetitions": 2, "subjects": ["01"]}


@pytest.fixture(scope="module")
def small() -> PlantedMoviesDataset:
    return PlantedMoviesDataset(seed=6, rest=2, **SMALL)


def same(first, second) -> bool:
    return (
        np.array_equal(first.values, second.values)
        and (first.stimulus_ids == second.stimulus_ids).all()
        and first.samples.equals(second.samples)
        and first.space == second.space
    )


# ------------------------------------------------------------------------------------------------------- the data set


def test_it_is_a_dataset_of_the_registry(small) -> None:
    assert isinstance(build("planted_movies", **SMALL), Dataset)
    small.check()
    responses = small.responses("01")
    assert responses.values.dtype == np.float32 and responses.units == "percent signal change" and responses.tr == 2.0
    assert (responses.n_samples, responses.n_targets) == small.shape("01")
    assert list(responses.samples.columns) == ["run", "film", "repetition", "time"]
    regions = small.regions("01")
    assert set(regions) == set(movies.REGIONS) and np.sum(list(regions.values()), axis=0).tolist() == [1] * len(
        small.truth("01").region
    )
    assert min(mask.sum() for mask in regions.values()) >= 12 and 200 < responses.n_targets < 400


def test_training_films_are_seen_once_and_the_test_film_again_and_again(small) -> None:
    samples = small.samples("01")
    runs = samples.groupby("run").agg({"film": "first", "repetition": "first", "time": "first"})
    assert sorted(runs["film"]) == ["01", "02", "test", "test"] and list(runs.index) == [1, 2, 3, 4]
    assert sorted(runs.loc[runs["film"] == "test", "repetition"]) == [0, 1] and not runs["time"].any()
    for _, run in samples.groupby("run"):
        film = next(film for film in small.films if film.name == run["film"].iloc[0])
        assert len(run) == film.n_volumes and (np.diff(run["time"]) == 2.0).all()
        assert run["stimulus_id"].is_unique
    orders = {tuple(PlantedMoviesDataset(n_films=4, subjects=[s]).samples(s)["film"].unique()) for s in ("1", "2", "3")}
    assert len(orders) > 1  # the subject's own


def test_equal_arguments_give_equal_bits_whoever_else_is_asked() -> None:
    alone, many = (PlantedMoviesDataset(seed=2, **{**SMALL, "subjects": s}) for s in (["02"], ["09", "02"]))
    many.responses("09")
    first = alone.responses("02")
    assert same(first, many.responses("02")) and same(first, alone.responses("02"))
    assert np.array_equal(alone.truth("02").signal, many.truth("02").signal)
    other = PlantedMoviesDataset(seed=3, **{**SMALL, "subjects": ["02"]}).responses("02")
    assert not same(first, other)
    assert not np.array_equal(first.values[:, :100], many.responses("09").values[:, :100])


def test_stimuli_have_a_row_and_a_picture_per_volume(small, tmp_path) -> None:
    stimuli = small.stimuli(tmp_path)
    table = stimuli.table
    assert len(table) == small.n_stimuli and list(table.columns) == small.stimulus_columns
    assert set(small.samples("01")["stimulus_id"]) == set(stimuli.ids)
    blank = table["clip"] == ""
    assert (table["path"] == "").tolist() == blank.tolist() == (table["text"] == "").tolist()
    assert all(Path(path).is_file() for path in table.loc[~blank, "path"])
    assert not table.loc[blank, list(movies.COLUMNS)].to_numpy().any() and blank.any()
    assert set(table.loc[table["film"] == "test", "split"]) == {"test"}
    assert set(table.loc[table["film"] != "test", "split"]) == {"train"}
    assert not {"signal", "amplitude", "region"} & set(table.columns)


def test_what_is_measured_is_the_signal_and_noise_of_the_planted_sd() -> None:
    data = PlantedMoviesDataset(seed=6, **SMALL)
    responses, truth = data.responses("01"), data.truth("01")
    noise = responses.values - truth.signal[rows_of(responses.stimulus_ids, truth.stimulus_ids, "truth")]
    assert np.sqrt((noise**2).mean(axis=0) / truth.noise_sd**2).mean() == pytest.approx(1, abs=0.05)
    halves = [noise[responses.column("run") == run] for run in (1, 2)]
    assert abs(np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1]) < 0.05  # each run its own
    drive = np.concatenate([reel.columns for reel in data.reels]) @ truth.W
    film = data.films[0].n_volumes
    np.testing.assert_allclose(movies.respond(drive[:film], truth.kernel), truth.signal[:film], atol=1e-4)
    quiet = PlantedMoviesDataset(seed=6, ncsnr_scale=0.5, **SMALL).truth("01")
    np.testing.assert_allclose(quiet.signal, truth.signal / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"n_films": 1}, "n_films"),
        ({"n_clips": 2.5}, "n_clips"),
        ({"rest": -1}, "rest"),
        ({"tr": 0}, "tr"),
        ({"tr": 2000}, "tr"),
        ({"tr": 0.01}, "TR"),
        ({"ncsnr_scale": True}, "ncsnr_scale"),
        ({"subjects": "01"}, "subjects"),
        ({"subjects": ["a/b"]}, "a/b"),
        ({"subjects": ["1", "1"]}, "twice"),
    ],
)
def test_impossible_arguments_are_refused(wrong: dict, word: str) -> None:
    with pytest.raises(DataError, match=word):
        PlantedMoviesDataset(**wrong)


def test_an_unknown_subject_is_refused(small) -> None:
    for ask in (small.responses, small.truth, small.regions, small.samples):
        with pytest.raises(DataError, match="'07'"):
            ask("07")


# --------------------------------------------------------------------------------------------------- delayed encoders


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """One subject: what the volumes show, the training and the test rows by the suggested split."""
    data = PlantedMoviesDataset(seed=4, subjects=["01"], n_films=6, ncsnr_scale=1.5)
    responses, truth = data.responses("01"), data.truth("01")
    table = data.stimuli(tmp_path_factory.mktemp("volumes")).table
    split = splits.by_column(table, responses.stimulus_ids)
    rows = rows_of(responses.stimulus_ids, truth.stimulus_ids, "truth")
    X = table.loc[list(truth.stimulus_ids), list(movies.COLUMNS)].to_numpy(np.float32)[rows]
    made = SimpleNamespace(data=data, truth=truth, table=table, X=X, Y=responses.values, ids=responses.stimulus_ids)
    made.run, made.signal = responses.column("run"), truth.signal[rows]
    made.train, made.test = split.test_fold < 0, split.test_fold == 0
    made.ceiling = movies.ceiling_correlation(made.signal[made.test], truth.noise_sd)
    return made


def fitted(world, columns=slice(None), delays=DELAYS, X=None) -> tuple[Ridge, np.ndarray]:
    """Delayed ridge of the training runs, runs as inner folds, and its correlation with the test volumes."""
    X = (world.X if X is None else X)[:, columns]
    design = Delayer(delays).transform(X, world.run)
    ridge = Ridge(n_alphas=8, device="cpu").fit(
        design[world.train], world.Y[world.train], groups=world.run[world.train]
    )
    return ridge, metrics.correlation(world.Y[world.test], ridge.predict(design[world.test]))


@pytest.fixture(scope="module")
def whole(world) -> tuple[Ridge, np.ndarray]:
    return fitted(world)


def share(world, r: np.ndarray, *regions: str) -> float:
    """Mean correlation over mean ceiling in some regions; by default in all that hold signal."""
    inside = np.isin(world.truth.region, regions) if regions else world.truth.region != "NOISE"
    return float(r[inside].mean() / world.ceiling[inside].mean())


def test_delayed_ridge_nearly_reaches_the_ceiling_and_finds_nothing_in_noise(world, whole) -> None:
    r = whole[1]
    assert 0.8 < share(world, r) < 1.05
    for regions in (("FFA-1", "FFA-2", "OFA"), ("PPA", "OPA", "RSC"), ("EBA", "FBA"), ("hMT+",)):
        assert 0.7 < share(world, r, *regions) < 1.08, regions
    assert abs(r[world.truth.region == "NOISE"].mean()) < 0.06


def test_without_delays_or_with_volumes_out_of_order_nothing_is_left(world) -> None:
    assert share(world, fitted(world, delays=(0,))[1]) < 0.3
    shuffled = world.X[np.random.default_rng(0).permutation(len(world.X))]
    assert abs(share(world, fitted(world, X=shuffled)[1])) < 0.15


def test_coefficients_over_delays_have_the_shape_of_the_response(world, whole) -> None:
    coef = Delayer(DELAYS).split_coefficients(whole[0].coef_)
    for name, column in (("hMT+", "motion"), ("FFA-1", "size_face"), ("PPA", "size_place"), ("EBA", "size_body")):
        course = coef[:, movies.COLUMNS.index(column), world.truth.region == name].mean(axis=1)
        assert np.corrcoef(course, world.truth.kernel[: len(DELAYS)])[0, 1] > 0.95, name
        assert np.corrcoef(np.roll(course, 1), world.truth.kernel[: len(DELAYS)])[0, 1] < 0.85  # one volume late
        assert course.argmax() == world.truth.kernel.argmax()


def test_motion_and_categories_are_answered_apart(world) -> None:
    motion, sizes = fitted(world, slice(6, 7))[1], fitted(world, slice(0, 6))[1]
    faces, places = ("FFA-1", "FFA-2", "OFA"), ("PPA", "OPA", "RSC")
    assert share(world, motion, "hMT+") > 0.8 and share(world, sizes, "hMT+") < 0.45
    for regions in (faces, places):
        assert share(world, sizes, *regions) > 0.8 and share(world, motion, *regions) < 0.4


def test_repetitions_of_the_test_film_stay_on_one_side(world) -> None:
    assert not set(world.ids[world.train]) & set(world.ids[world.test])
    assert (np.unique(world.ids[world.test], return_counts=True)[1] == 4).all()
    with pytest.raises(DataError, match="stimuli are in both training and test"):
        splits.by_run(world.run, world.ids)  # a run of the test film held out, its other runs not


def test_the_noise_ceiling_from_repetitions_agrees_with_the_closed_form(world) -> None:
    """Of 60 volumes seen four times, with drift: a single target's estimate is coarse, their mean is not."""
    estimated = ceilings.noise_ceiling(world.Y[world.test], world.ids[world.test])
    found = estimated.signal_variance / estimated.noise_variance
    true = world.signal[world.test].var(axis=0) / world.truth.noise_sd**2
    assert np.corrcoef(found, true)[0, 1] > 0.75
    assert found.mean() == pytest.approx(true.mean(), abs=0.06)
    once = ceilings.noise_ceiling(world.Y[world.test], np.random.default_rng(0).permutation(world.ids[world.test]))
    assert abs((once.signal_variance / once.noise_variance).mean()) < 0.3 * true.mean()  # repetitions mixed up


# --------------------------------------------------------------------------------------------------------------- BIDS


def test_the_bids_folder_holds_the_same_experiment(small, tmp_path) -> None:
    arguments = write_bids(small, tmp_path)
    read = BidsBoldDataset(**arguments)
    read.check()
    responses, truth = small.responses("01"), small.truth("01")
    assert read.subjects == ("01",) and read.shape("01") == (20, responses.n_targets)
    for name, mask in small.regions("01").items():
        np.testing.assert_array_equal(read.regions("01")[name], mask)
    stimuli = read.stimuli().table
    assert set(stimuli.index) == set(truth.clip_ids) and all(Path(p).is_file() for p in stimuli["path"])
    betas = read.responses("01")
    counts = {name: int((betas.stimulus_ids == name).sum()) for name in truth.clip_ids}
    assert {n for name, n in counts.items() if "test" in name} == {2}
    assert {n for name, n in counts.items() if "test" not in name} == {1}
    import nibabel as nib

    mask = nib.load(tmp_path / "sub-01" / "anat" / "mask.nii.gz").get_fdata() > 0
    bold = nib.load(tmp_path / "sub-01" / "func" / "sub-01_task-movies_run-02_bold.nii.gz")
    percent = bold.get_fdata()[mask].T / 10 - 100
    np.testing.assert_allclose(percent, responses.values[responses.column("run") == 2], atol=1e-3)
    assert bold.header.get_zooms()[3] == small.tr
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.tsv")}
    write_bids(small, tmp_path)  # once more over the same folder
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.tsv")} == before
    assert not list(tmp_path.rglob(".partial*"))
