"""summarise_regions: means of the maps over usable targets, intervals that hold them, paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core import storage
from pipelines.summarise_regions import summarise_regions
from tests.pipelines.conftest import BROKEN, DEAD
from tests.pipelines.toy_steps import folder_of, statistics_of, values_of


@pytest.fixture(scope="module")
def table(toy):
    return storage.read_table(toy.subject / "regions.tsv").set_index(["model", "region"])


def summarised(toy, output, labels, comparisons):
    predictions = [folder_of(toy, label) / "predictions.safetensors" for label in labels]
    scores = [folder_of(toy, label) / "scores.h5" for label in labels]
    inputs = [toy.subject / name for name in ("responses.h5", "split.tsv", "regions.h5", "ceiling.h5")]
    parameters = {**statistics_of(toy), "models": labels, "comparisons": comparisons}
    summarise_regions(*inputs, predictions, scores, parameters, output / "r.tsv", output / "c.tsv")
    return storage.read_table(output / "c.tsv").set_index("region")


@pytest.mark.parametrize("label", ["ridge/a", "banded/a+b"])
def test_a_region_is_the_mean_of_its_usable_targets(toy, table, label):
    maps = values_of(folder_of(toy, label) / "scores.h5")
    for region, mask in storage.load_masks(toy.subject / "regions.h5").items():
        row = table.loc[(label, region)]
        assert row["correlation"] == pytest.approx(np.nanmean(maps["correlation"][mask]), abs=1e-6)
        assert row["r2"] == pytest.approx(np.nanmean(maps["r2"][mask]), abs=1e-6)
        assert row["lower"] <= row["correlation"] <= row["upper"]
        assert row["n_targets"] == mask.sum() - mask[[DEAD, BROKEN]].sum()
        q = maps["q_value"][mask]
        assert row["significant"] == pytest.approx(np.mean(q[np.isfinite(q)] < 0.05))


def test_normalised_is_a_ratio_of_means_above_the_floor(toy, table):
    best = values_of(toy.subject / "ceiling.h5")
    r = values_of(folder_of(toy, "ridge/a") / "scores.h5")["correlation"]
    ratio = r[:8].mean() / best["ceiling_correlation"][:8].mean()
    assert (best["ceiling_r2"][:8] > 0.1).all()
    assert table.loc[("ridge/a", "A"), "normalised"] == pytest.approx(ratio)


def test_paired_differences_are_those_of_the_means_and_change_sign_with_the_order(toy, table, tmp_path):
    forth = summarised(toy, tmp_path, ["banded/a+b", "ridge/a"], [["banded/a+b", "ridge/a"]])
    back = summarised(toy, tmp_path, ["banded/a+b", "ridge/a"], [["ridge/a", "banded/a+b"]])
    for region in ("A", "B", "noise"):
        means = (table.loc[(label, region), "correlation"] for label in ("banded/a+b", "ridge/a"))
        assert forth.loc[region, "difference"] == pytest.approx(-np.diff(list(means))[0], abs=1e-6)
    np.testing.assert_allclose(forth["difference"], -back["difference"])
    np.testing.assert_allclose(forth["lower"], -back["upper"])


def test_the_band_that_helps_is_told_from_the_one_that_does_not(toy):
    differences = storage.read_table(toy.subject / "comparisons.tsv").set_index("region")
    assert differences.loc["B", "lower"] > 0.2
    assert differences.loc["A", "lower"] < 0 < differences.loc["A", "upper"]


def test_a_model_does_not_differ_from_itself(toy, tmp_path):
    same = summarised(toy, tmp_path, ["ridge/a"], [["ridge/a", "ridge/a"]])
    assert (same[["difference", "lower", "upper"]] == 0).all(axis=None)


def test_without_comparisons_the_table_is_empty_but_there(toy, tmp_path):
    assert len(summarised(toy, tmp_path, ["ridge/a"], [])) == 0
