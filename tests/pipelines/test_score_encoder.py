"""score_encoder: numbers that another hand finds too; NaN, never 0, where there is nothing to score."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core import storage
from pipelines.samples import load_samples
from tests.pipelines.conftest import BROKEN, DEAD
from tests.pipelines.toy_steps import folder_of, score, values_of


@pytest.fixture(scope="module")
def tested(toy):
    samples = load_samples(toy.subject / "responses.h5", toy.subject / "split.tsv", average=True)
    return samples.Y[samples.tested]


def test_correlation_and_r2_are_those_of_numpy(toy, tested):
    found = values_of(folder_of(toy, "ridge/a") / "scores.h5")
    predicted = storage.load_arrays(folder_of(toy, "ridge/a") / "predictions.safetensors")["Y_hat"]
    for target in (0, 9, 17):
        y, p = tested[:, target].astype(float), predicted[:, target].astype(float)
        assert found["correlation"][target] == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-6)
        assert found["r2"][target] == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-6)


def test_unusable_targets_are_nan_in_every_map(toy):
    for name, values in values_of(folder_of(toy, "ridge/a") / "scores.h5").items():
        assert np.isnan(values[[DEAD, BROKEN]]).all(), name
        if name != "normalised_correlation":
            assert np.isfinite(np.delete(values, [DEAD, BROKEN])).all(), name


def test_the_planted_bands_are_found(toy):
    a, b = (values_of(folder_of(toy, label) / "scores.h5") for label in ("ridge/a", "banded/b"))
    assert a["correlation"][:8].mean() > 0.8 and abs(a["correlation"][8:16].mean()) < 0.3
    assert b["correlation"][8:16].mean() > 0.5 and abs(b["correlation"][:8].mean()) < 0.3
    assert np.mean(a["q_value"][:8] < 0.05) > 0.8
    assert np.nanmin(a["q_value"][16:]) > 0.05


def test_perfect_predictions_score_one_and_swapped_rows_do_not(toy, tested, tmp_path):
    storage.save_arrays(tmp_path / "perfect.safetensors", {"Y_hat": tested})
    perfect = score(toy, tmp_path / "perfect.safetensors", tmp_path / "perfect.h5")
    np.testing.assert_allclose(np.delete(perfect["correlation"], [DEAD, BROKEN]), 1)
    storage.save_arrays(tmp_path / "swapped.safetensors", {"Y_hat": tested[::-1].copy()})
    assert np.nanmax(score(toy, tmp_path / "swapped.safetensors", tmp_path / "swapped.h5")["correlation"]) < 0.9


def test_scores_are_normalised_above_the_floor_only_and_not_clipped(toy):
    found, best = values_of(folder_of(toy, "ridge/a") / "scores.h5"), values_of(toy.subject / "ceiling.h5")
    above = best["ceiling_r2"] > toy.study.config["ceiling"]["floor"]
    ratio = found["correlation"][above] / best["ceiling_correlation"][above]
    np.testing.assert_allclose(found["normalised_correlation"][above], ratio)
    assert np.isnan(found["normalised_correlation"][~above]).all()
    assert above[:16].all()


def test_p_values_are_counts_of_permutations(toy):
    p = values_of(folder_of(toy, "ridge/a") / "scores.h5")["p_value"]
    finite = p[np.isfinite(p)]
    np.testing.assert_allclose(finite * 100, np.round(finite * 100), atol=1e-9)
    assert finite.min() >= 0.01
