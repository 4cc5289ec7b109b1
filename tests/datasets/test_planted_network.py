"""Subjects planted on a network: their signal is the network's, their noise and pictures are those of the equations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brainenc.core.align import average_repetitions, rows_of
from brainenc.core.types import DataError
from brainenc.datasets import planted_network
from brainenc.datasets.planted import PlantedDataset
from brainenc.datasets.planted_network import fit_readout, reference_pictures
from brainenc.encoders.ridge import Ridge
from brainenc.nn.embedding import load_embedder
from brainenc.pocket.image_net import NetShape, build, save_network
from brainenc.stats import cleaning, metrics, splits
from brainenc.world.cortex import PLANTED_CATEGORIES, PREFERENCES, followed_categories, standardise
from brainenc.world.measurement import noise_ceiling
from brainenc.world.regions import EARLY

SHAPE = NetShape(layers=(1, 1, 1, 1), channels=(16, 32, 48, 64), stem_width=16)


def write_network(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_network(build(0, SHAPE), folder, SHAPE)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return write_network(tmp_path_factory.mktemp("planting"), 0)


@pytest.fixture(scope="module")
def other_network(tmp_path_factory) -> Path:
    return write_network(tmp_path_factory.mktemp("twin"), 1)


@pytest.fixture(scope="module", autouse=True)
def fewer_reference_pictures():
    """A third of them: the theorems hold for any number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_network, "N_REFERENCE", 200)
        reference_pictures.cache_clear()
        yield
    reference_pictures.cache_clear()


@pytest.fixture(scope="module")
def planted(network) -> PlantedDataset:
    return PlantedDataset("tiny", seed=1, network=network, n_shared=120, n_own=4)


@pytest.fixture(scope="module")
def by_equations() -> PlantedDataset:
    return PlantedDataset("tiny", seed=1, n_shared=120, n_own=4)


def high(region: np.ndarray) -> np.ndarray:
    return ~np.isin(region, EARLY)


def test_without_a_network_nothing_changes(by_equations) -> None:
    same = PlantedDataset("tiny", seed=1, n_shared=120, n_own=4, network=None)
    assert np.array_equal(same.responses("01").values, by_equations.responses("01").values, equal_nan=True)
    assert by_equations.truth("01").network == ""
    assert len(by_equations._pictures.block("shared").images) == 0  # pixels are kept for networks alone


def test_all_but_the_signal_of_high_areas_is_as_without_it(planted, by_equations, network) -> None:
    truth, other = planted.truth("01"), by_equations.truth("01")
    assert truth.network == network.name
    for name in ("stimulus_ids", "region", "prf_x", "M", "U", "dead", "missing", "lost"):
        assert np.array_equal(getattr(truth, name), getattr(other, name), equal_nan=name == "prf_x"), name
    assert np.array_equal(truth.ncsnr, other.ncsnr, equal_nan=True)
    early = ~high(truth.region)
    assert np.array_equal(truth.signal[:, early], other.signal[:, early])
    driven = np.nan_to_num(truth.ncsnr) > 0
    assert not (truth.signal == other.signal).all(axis=0)[driven & ~early].any()
    usable = ~(truth.dead | truth.missing)
    noise, wanted = (
        measured.values - gain(t) * t.signal[rows_of(measured.stimulus_ids, t.stimulus_ids, "truth")]
        for measured, t in ((planted.responses("01"), truth), (by_equations.responses("01"), other))
    )
    assert np.allclose(noise[:, usable], wanted[:, usable], atol=1e-4, equal_nan=True)


def gain(truth) -> np.ndarray:
    ratio = np.nan_to_num(truth.ncsnr)
    return ratio / np.sqrt(1 + ratio**2)


def test_signals_are_standardised_and_lie_in_the_span_of_the_embedding(planted, other_network) -> None:
    """Least squares of the noiseless signal: exact on embedding, contralateral terms and contrast, and not without."""
    truth = planted.truth("01")
    assert np.abs(truth.signal.mean(axis=0)).max() < 1e-4
    assert np.allclose(truth.signal.std(axis=0)[np.nan_to_num(truth.ncsnr) > 0], 1, atol=1e-3)
    blocks = [planted._pictures.block(name) for name in ("shared", "01")]
    seen = [planted._pictures.seen(name) for name in ("shared", "01")]
    images = np.concatenate([block.images for block in blocks])
    x = np.nan_to_num(np.concatenate([part.positions[:, :, 0] for part in seen]))
    lateral = x * np.log2(1 + np.concatenate([part.sizes for part in seen]))
    contrast = np.sqrt(np.concatenate([part.energy.mean(axis=(1, 2, 3), dtype=float) for part in seen]))
    S = truth.signal[:, high(truth.region)].astype(float)
    E = planted._pictures.eye.embed(images)

    def unexplained(*columns: np.ndarray) -> np.ndarray:
        X = standardise(np.column_stack(columns).astype(float))
        return np.mean((S - X @ np.linalg.lstsq(X, S, rcond=None)[0]) ** 2, axis=0)

    assert unexplained(E, lateral, contrast).max() < 1e-5
    category = np.isin(truth.region[high(truth.region)], list(PREFERENCES))
    assert unexplained(E).max() > 0.005 and unexplained(E)[~category].max() < 1e-5  # language areas need no more
    twin = load_embedder(other_network)(images)
    assert np.median(unexplained(twin, lateral, contrast)) > 0.01


def test_other_subjects_and_the_order_of_asking_change_no_bit(planted, network) -> None:
    first = planted.responses("02").values
    alone = PlantedDataset("tiny", seed=1, subjects=["02"], network=str(network), n_shared=120, n_own=4)
    assert np.array_equal(alone.responses("02").values, first, equal_nan=True)
    assert np.array_equal(alone.truth("02").signal, planted.truth("02").signal)


def test_copies_are_seen_as_they_are(network) -> None:
    """Every second copy of a test picture is brighter: to a network it is another picture."""
    data = PlantedDataset("tiny", seed=2, subjects=["01"], n_shared=40, n_duplicates=4, network=network)
    seen, rows = data._pictures.seen("copy").attributes, data._pictures.test_rows()[:4]
    same = (seen == data._pictures.seen("shared").attributes[rows]).all(axis=1)
    assert list(same) == [True, False, True, False]


def test_components_are_white_and_sizes_are_least_squares() -> None:
    rng = np.random.default_rng(0)
    E = rng.normal(size=(300, 40)) @ rng.normal(size=(40, 40)) + 3
    sizes = np.abs(E[:, :6] + rng.normal(size=(300, 6)))
    readout = fit_readout(E, sizes)
    A = readout.attributes(E)
    assert np.allclose(A.T @ A / 300, np.eye(16), atol=1e-8)
    X = np.column_stack([np.ones(300), A])
    wanted = X @ np.linalg.lstsq(X, np.log2(1 + sizes), rcond=None)[0]
    assert np.allclose(np.log2(1 + readout.sizes(A)), wanted)
    with pytest.raises(DataError, match="varies in 9 directions, wanted at least 16"):
        fit_readout(np.repeat(E[:, :9], 3, axis=1), sizes)


class KnowingNetwork:
    """Tells exactly how large a picture shows each category, beside thirty numbers of its own; or only those."""

    def __init__(self, data: PlantedDataset, knows: bool) -> None:
        rng = np.random.default_rng(0)
        self.rows = {}
        blocks = [(b.images, b.contents.sizes) for b in (data._pictures.block(name) for name in ("shared", "01"))]
        for images, sizes in [reference_pictures(), *blocks]:
            told = 30 * np.log2(1 + sizes) if knows else np.zeros((len(sizes), 6))
            for image, row in zip(images, np.concatenate([told, rng.normal(size=(len(sizes), 30))], 1), strict=True):
                self.rows[image.tobytes()] = row.astype(np.float32)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.stack([self.rows[picture.tobytes()] for picture in pictures])


@pytest.mark.parametrize(("knows", "least", "most"), [(True, 1.0, 1.0), (False, 0.0, 0.6)])
def test_regions_prefer_what_a_network_that_tells_categories_apart_lets_them(
    planted, network, monkeypatch, knows: bool, least: float, most: float
) -> None:
    fake = KnowingNetwork(planted, knows)  # the broken twin knows nothing of what is shown
    monkeypatch.setattr(planted_network, "load_embedder", lambda folder: fake)
    data = PlantedDataset("tiny", seed=1, network=network, n_shared=120, n_own=4)
    truth = data.truth("01")
    sizes = np.concatenate([data._pictures.block(name).contents.sizes for name in ("shared", "01")])
    right = []
    for name, weights in PREFERENCES.items():
        mean = truth.signal[:, truth.region == name].mean(axis=1)
        shown = [mean[column > 0].mean() for column in sizes.T]
        best = shown.index(min(shown) if name == "ANTI" else max(shown))
        right.append(PLANTED_CATEGORIES[best] == ("face" if name == "ANTI" else max(weights, key=weights.get)))
    assert least <= np.mean(right) <= most
    followed = followed_categories(truth.signal, sizes, truth.region)
    assert all(followed[name] == truth.preferred[truth.region == name][0] for name in followed)
    assert set(truth.preferred[np.isin(truth.region, ["ANTI", "V1", "NOISE"])]) == {""}


@pytest.fixture(scope="module")
def measured(network, tmp_path_factory):
    """Averaged, cleaned responses of 300 pictures shown three times, rows to fit and to test, and the pictures."""
    data = PlantedDataset("tiny", seed=3, subjects=["01"], network=network, n_shared=300, n_repetitions=3)
    responses = data.responses("01")
    table = data.stimuli(tmp_path_factory.mktemp("pictures")).table
    split = splits.by_column(table, responses.stimulus_ids)
    Y, _ = cleaning.clean_sessions(
        responses.values,
        responses.column("session"),
        time=responses.column("time"),
        order=1,
        training=split.test_fold == splits.TRAIN,
    )
    mean, ids, _ = average_repetitions(Y, responses.stimulus_ids)
    rows = [list(table.index).index(name) for name in ids]
    test = (table["split"] == "test").to_numpy()[rows]
    return mean, np.flatnonzero(~test), np.flatnonzero(test), data._pictures.block("shared").images[rows], data


def test_its_own_embedding_reaches_the_ceiling_and_a_random_twin_does_not(measured, other_network, network) -> None:
    Y, train, test, images, data = measured
    truth = data.truth("01")
    r = {}
    for name, folder in (("own", network), ("twin", other_network)):
        E = load_embedder(folder)(images)
        model = Ridge(n_alphas=10, device="cpu").fit(E[train], Y[train])
        r[name] = metrics.correlation(Y[test], model.predict(E[test]))
    nc = noise_ceiling(truth.ncsnr, 3)
    strong = high(truth.region) & (np.nan_to_num(nc) > 0.2)
    best = np.sqrt(nc[strong]).mean()
    assert 0.85 < r["own"][strong].mean() / best < 1.08
    difference = (r["own"] - r["twin"])[strong]
    assert difference.mean() > 0.05 and difference.mean() > 4 * difference.std() / np.sqrt(len(difference))
    for found in r.values():
        assert abs(np.nanmean(found[truth.region == "NOISE"])) < 0.1


def test_a_missing_network_is_one_clear_sentence(tmp_path) -> None:
    with pytest.raises(DataError, match="is no folder: pass one that timm or open_clip wrote"):
        PlantedDataset("tiny", network=tmp_path / "nowhere")
    with pytest.raises(DataError, match="lacks open_clip_config.json or config.json"):
        PlantedDataset("tiny", network=tmp_path)
