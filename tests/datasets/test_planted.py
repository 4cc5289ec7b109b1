"""The planted data set: deterministic, honest about its truth, and refusing what makes no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.protocols import Dataset
from brainenc.core.types import DataError
from brainenc.datasets import build
from brainenc.datasets.planted import SIZES, PlantedDataset
from brainenc.datasets.planted_pictures import write_picture
from brainenc.world.cortex import PLANTED_CATEGORIES
from brainenc.world.measurement import noise_ceiling
from brainenc.world.regions import EARLY, load_atlas


@pytest.fixture(scope="module")
def tiny() -> PlantedDataset:
    return PlantedDataset("tiny", seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def table(tiny, folder):
    return tiny.stimuli(folder).table


def same(first, second) -> bool:
    return (
        np.array_equal(first.values, second.values, equal_nan=True)
        and (first.stimulus_ids == second.stimulus_ids).all()
        and first.samples.equals(second.samples)
        and first.space == second.space
    )


def test_it_is_a_dataset_of_the_registry(tiny) -> None:
    assert isinstance(tiny, Dataset)
    assert isinstance(build("planted", size="tiny", seed=3, subjects=["07"]), PlantedDataset)
    tiny.check()


def test_shapes_and_columns(tiny, table) -> None:
    responses = tiny.responses("01")
    assert responses.values.dtype == np.float32 and responses.units == "planted z"
    assert responses.n_samples == 480 and 550 <= responses.n_targets <= 620
    assert list(responses.samples.columns) == ["session", "run", "repetition", "time"]
    assert responses.space.mesh == "fsaverage5"
    counts = {name: int((responses.stimulus_ids == name).sum()) for name in table.index}
    assert set(counts.values()) == {2}
    wanted = ["path", "text", "split", "shared", "subjects"]
    wanted += [f"size_{name}" for name in PLANTED_CATEGORIES] + [f"attribute_{k:02d}" for k in range(16)]
    assert list(table.columns) == wanted
    assert (table["split"] == "test").sum() == 40 and table["shared"].all()
    regions = tiny.regions("01")
    assert set(regions) == set(load_atlas().names)
    assert np.sum(list(regions.values()), axis=0).max() == 1
    assert min(mask.sum() for mask in regions.values()) >= 12


def test_equal_arguments_give_equal_bits_whoever_else_is_asked(tiny) -> None:
    first = tiny.responses("02")
    alone = PlantedDataset("tiny", seed=1, subjects=["02"])
    many = PlantedDataset("tiny", seed=1, subjects=["09", "02", "01"])
    many.responses("09")
    for other in (alone, many, tiny):
        assert same(first, other.responses("02"))
    assert np.array_equal(tiny.truth("02").signal, alone.truth("02").signal)
    assert not same(first, PlantedDataset("tiny", seed=2, subjects=["02"]).responses("02"))  # the seed decides
    other = tiny.responses("01")
    assert not np.array_equal(first.values[:, :100], other.values[:, :100])  # and the subject


def test_own_pictures_do_not_depend_on_other_subjects(tmp_path) -> None:
    arguments = {"size": "tiny", "seed": 4, "n_shared": 12, "n_own": 8}
    alone = PlantedDataset(subjects=["02"], **arguments).stimuli(tmp_path / "a").table.drop(columns="path")
    both = PlantedDataset(subjects=["01", "02"], **arguments).stimuli(tmp_path / "b").table.drop(columns="path")
    assert len(alone) == 20 and len(both) == 28
    assert both.loc[alone.index].equals(alone)
    assert set(both["subjects"]) == {"all", "01", "02"}
    assert (both.loc[~both["shared"], "split"] == "train").all()


def test_the_truth_is_in_truth_alone(tiny, table, tmp_path) -> None:
    responses = tiny.responses("01")
    truth = tiny.truth("01")
    storage.save_responses(tmp_path / "responses.h5", responses)
    storage.save_masks(tmp_path / "regions.h5", tiny.regions("01"), responses.space)
    secret = [b"ncsnr", b"signal", b"prf", b"preferred"]
    for file in ("responses.h5", "regions.h5"):
        assert not [word for word in secret if word in (tmp_path / file).read_bytes()]
    assert not {"ncsnr", "signal", "region"} & set(table.columns)
    usable = ~(truth.dead | truth.missing)
    rows = np.setdiff1d(np.arange(responses.n_samples), truth.lost)
    order = {name: i for i, name in enumerate(truth.stimulus_ids)}
    S = truth.signal[[order[name] for name in responses.stimulus_ids[rows]]]
    Y = responses.values[rows]
    strong = usable & (np.nan_to_num(truth.ncsnr) > 0.3)
    r = ((Y - Y.mean(0)) * S)[:, strong].mean(0) / Y[:, strong].std(0) / S[:, strong].std(0)
    assert r.mean() > 0.3 and r.max() < 0.95  # what was measured is not the noiseless signal


def test_measured_and_planted_noise_ceilings_agree(tiny) -> None:
    responses, truth = tiny.responses("01"), tiny.truth("01")
    repetition = responses.samples["repetition"].to_numpy()
    means = []
    for k in (0, 1):
        rows = np.flatnonzero(repetition == k)
        means.append(responses.values[rows[np.argsort(responses.stimulus_ids[rows].astype(str))]])
    kept = np.isfinite(means[0]).any(1) & np.isfinite(means[1]).any(1)
    a, b = means[0][kept], means[1][kept]
    good = ~(truth.dead | truth.missing)
    r = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)[good] / (a.std(0) * b.std(0))[good]
    expected = noise_ceiling(truth.ncsnr[good], 1)
    assert np.corrcoef(r, expected)[0, 1] > 0.8
    assert np.mean(r - expected) == pytest.approx(0, abs=0.03)


def test_what_a_vertex_cannot_see_it_does_not_answer(tiny) -> None:
    truth = tiny.truth("01")
    early = np.isin(truth.region, EARLY)
    beyond = early & (np.maximum(np.abs(truth.prf_x), np.abs(truth.prf_y)) > 4.2 + 2 * truth.prf_sigma)
    inside = early & (np.maximum(np.abs(truth.prf_x), np.abs(truth.prf_y)) < 4.2)
    assert beyond.sum() > 20 and inside.sum() > 40
    assert (np.nan_to_num(truth.ncsnr[beyond]) == 0).all() and (truth.signal[:, beyond] == 0).all()
    assert (np.nan_to_num(truth.ncsnr[inside], nan=1) > 0).all()
    assert (truth.signal.std(axis=0)[np.nan_to_num(truth.ncsnr) > 0] > 0).all()
    for name in ("NOISE", "DRIFTONLY"):
        assert (np.nan_to_num(truth.ncsnr[truth.region == name]) == 0).all()


def category_means(truth, table, region: np.ndarray, name: str) -> np.ndarray:
    """Mean signal of a region over the pictures that show each category, shape (6,)."""
    shown = table.loc[list(truth.stimulus_ids), [f"size_{c}" for c in PLANTED_CATEGORIES]].to_numpy() > 0
    mean = truth.signal[:, region == name].mean(axis=1)
    return np.array([mean[shown[:, k]].mean() for k in range(6)])


def test_every_region_of_every_subject_prefers_what_was_planted(tiny, table) -> None:
    for subject in tiny.subjects:
        truth = tiny.truth(subject)
        tuned = [name for name in load_atlas().names if truth.preferred[truth.region == name][0]]
        assert len(tuned) == 13
        for name in tuned:
            best = PLANTED_CATEGORIES[category_means(truth, table, truth.region, name).argmax()]
            assert best == truth.preferred[truth.region == name][0], (subject, name)
        assert PLANTED_CATEGORIES[category_means(truth, table, truth.region, "ANTI").argmin()] == "face"
        shuffled = np.random.default_rng(0).permutation(truth.region)  # the broken twin: labels permuted
        right = [
            PLANTED_CATEGORIES[category_means(truth, table, shuffled, name).argmax()]
            == truth.preferred[truth.region == name][0]
            for name in tuned
        ]
        assert np.mean(right) < 0.6


def test_faults_are_there_and_can_be_left_out(tiny) -> None:
    values, truth = tiny.responses("01").values, tiny.truth("01")
    rows = np.setdiff1d(np.arange(len(values)), truth.lost)
    assert truth.dead.sum() == truth.missing.sum() == round(0.01 * values.shape[1])
    assert len(truth.lost) == 1 and np.isnan(values[truth.lost]).all()
    assert (values[rows][:, truth.dead] == 0).all() and np.isnan(values[:, truth.missing]).all()
    assert np.isfinite(values[rows][:, ~truth.missing]).all()
    assert np.isnan(truth.ncsnr[truth.dead | truth.missing]).all()
    clean = PlantedDataset("tiny", seed=1, adversarial=False)
    assert np.isfinite(clean.responses("01").values).all()
    assert not clean.truth("01").dead.any() and np.isfinite(clean.truth("01").ncsnr).all()
    weaker = PlantedDataset("tiny", seed=1, adversarial=False, ncsnr_scale=0.8)
    assert np.allclose(weaker.truth("01").ncsnr, 0.8 * clean.truth("01").ncsnr)


def test_pictures_are_written_once_and_repaired(tmp_path) -> None:
    from PIL import Image

    dataset = PlantedDataset("tiny", seed=5, subjects=["01"], n_shared=10)
    first = dataset.stimuli(tmp_path).table
    files = [Path(path) for path in first["path"]]
    before = [file.stat().st_mtime_ns for file in files]
    assert all(Image.open(file).size == (64, 64) for file in files)
    files[2].write_bytes(files[2].read_bytes()[:50])
    write_picture(files[3], np.zeros((64, 64, 3), np.uint8))
    again = PlantedDataset("tiny", seed=5, subjects=["01"], n_shared=10).stimuli(tmp_path).table
    after = [file.stat().st_mtime_ns for file in files]
    assert again.equals(first)
    assert [i for i in range(10) if before[i] != after[i]] == [2, 3]
    assert np.asarray(Image.open(files[2])).std() > 0
    assert not list(tmp_path.glob(".partial*"))


def test_duplicates_are_test_pictures_under_another_name(tmp_path) -> None:
    from PIL import Image

    dataset = PlantedDataset("tiny", seed=6, subjects=["01"], n_shared=60, n_duplicates=4)
    table = dataset.stimuli(tmp_path).table
    copies, originals = table[table.index.str.startswith("copy")], table[table["split"] == "test"].iloc[:4]
    assert (copies["split"] == "train").all() and list(copies["text"]) == list(originals["text"])
    for k, (copy, original) in enumerate(zip(copies["path"], originals["path"], strict=True)):
        a, b = (np.asarray(Image.open(path)).astype(int) for path in (copy, original))
        assert np.array_equal(a, b) == (k % 2 == 0)
        assert np.abs(a - b).max() <= 3
    responses = dataset.responses("01")
    values = [responses.values[responses.stimulus_ids == name] for name in (copies.index[0], originals.index[0])]
    assert not np.array_equal(*values, equal_nan=True)  # measured anew


def test_the_drift_confound_shows_faces_late() -> None:
    for confound, slope in ((True, 0.6), (False, 0.0)):
        dataset = PlantedDataset("tiny", seed=7, subjects=["01"], drift_confound=confound, adversarial=False)
        responses, truth = dataset.responses("01"), dataset.truth("01")
        faces = dataset._pictures.block("shared").contents.sizes[:, 0] > 0
        order = {name: i for i, name in enumerate(truth.stimulus_ids)}
        shown = faces[[order[name] for name in responses.stimulus_ids]]
        time = responses.samples["time"].to_numpy()
        assert np.polyfit(time, shown, 1)[0] == pytest.approx(slope, abs=0.2)
        drifting = responses.values[:, truth.region == "DRIFTONLY"].mean(axis=1)
        assert np.polyfit(time, drifting, 1)[0] == pytest.approx(1.2, abs=0.45)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "size 'huge' is unknown: use one of tiny"),
        ({"seed": -1}, "seed is -1, wanted a whole number"),
        ({"seed": 1.5}, "seed is 1.5, wanted a whole number"),
        ({"subjects": "01"}, r"subjects is '01', wanted a list"),
        ({"subjects": [1]}, "subject 1 is no name.* quote it"),
        ({"subjects": ["a b"]}, "subject 'a b' is no name"),
        ({"subjects": ["shared"]}, "subject 'shared' is no name"),
        ({"subjects": ["01", "01"]}, "repeat a name"),
        ({"subjects": []}, "wanted a list"),
        ({"ncsnr_scale": 0}, "ncsnr_scale is 0, wanted a number above 0"),
        ({"ncsnr_scale": float("nan")}, "ncsnr_scale is nan"),
        ({"vertices": "some"}, "vertices 'some' is unknown"),
        ({"n_shared": 0}, "n_shared is 0, wanted a whole number of at least 4"),
        ({"n_repetitions": 0}, "n_repetitions is 0"),
        ({"n_sessions": 400}, "cannot fill 400 sessions"),
        ({"n_duplicates": 41}, "n_duplicates is 41 but there are 40"),
    ],
)
def test_bad_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(DataError, match=message):
        build("planted", **arguments)


def test_an_unknown_subject_is_refused(tiny) -> None:
    for ask in (tiny.responses, tiny.regions, tiny.truth):
        with pytest.raises(DataError, match="there is no subject '99': use one of 01, 02"):
            ask("99")


def test_sizes_differ_in_vertices_and_pictures() -> None:
    counts = {}
    for which in ("few", "regions", "all"):
        dataset = PlantedDataset("tiny", n_shared=10, n_repetitions=1, n_sessions=1, vertices=which)
        counts[which] = dataset.responses("01").n_targets
    assert counts["few"] < 620 and 2200 < counts["regions"] < 3500 and counts["all"] > 18_000
    assert SIZES["demo"].n_shared + SIZES["demo"].n_own == SIZES["small"].n_shared == 1000
    assert PlantedDataset("demo").subjects == ("01", "02", "03", "04")
