"""estimate_ceiling: signal and noise from repetitions of the stated samples, in the unit of the score."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core import storage
from pipelines.estimate_ceiling import estimate_ceiling
from tests.pipelines.conftest import BROKEN, DEAD, EMPTY_ROW
from tests.pipelines.toy_steps import changed_responses, values_of


def estimated(toy, output, responses=None, split=None, **parameters):
    responses, split = responses or toy.subject / "responses.h5", split or toy.subject / "split.tsv"
    estimate_ceiling(responses, split, {"rows": "auto", "average": True, **parameters}, output)
    return values_of(output)


def test_variances_are_those_of_the_textbook(toy):
    responses = storage.load_responses(toy.subject / "responses.h5")
    training = (storage.read_table(toy.subject / "split.tsv")["test_fold"] == -1).to_numpy()
    kept = training & (np.arange(180) != EMPTY_ROW)
    values, ids = responses.values[kept, 0].astype(float), responses.stimulus_ids[kept].astype(str)
    groups = [values[ids == name] for name in np.unique(ids)]
    degrees = sum(len(group) - 1 for group in groups)
    noise = sum(((group - group.mean()) ** 2).sum() for group in groups) / degrees
    found = values_of(toy.subject / "ceiling.h5")
    assert found["noise_variance"][0] == pytest.approx(noise, rel=0.02)
    signal = np.var([group.mean() for group in groups], ddof=1) - noise * np.mean([1 / len(group) for group in groups])
    assert found["signal_variance"][0] == pytest.approx(signal, rel=0.05)
    ncsnr = found["ncsnr"][0]
    assert found["ceiling_r2"][0] == pytest.approx(ncsnr**2 / (ncsnr**2 + 1 / 3), rel=0.02)
    np.testing.assert_allclose(found["ceiling_correlation"] ** 2, found["ceiling_r2"])


def test_test_samples_decide_no_ceiling_of_training_samples(toy, tmp_path):
    tested = (storage.read_table(toy.subject / "split.tsv")["test_fold"] == 0).to_numpy()
    sealed = changed_responses(toy.subject / "responses.h5", tmp_path / "responses.h5", tested)
    before = values_of(toy.subject / "ceiling.h5")
    after = estimated(toy, tmp_path / "ceiling.h5", sealed)
    np.testing.assert_array_equal(before["ceiling_r2"], after["ceiling_r2"])
    # Taken from test samples it does follow them.
    assert not np.allclose(before["ceiling_r2"], estimated(toy, tmp_path / "c.h5", sealed, rows="test")["ceiling_r2"])


def test_signal_has_a_ceiling_and_unusable_targets_none(toy):
    best = values_of(toy.subject / "ceiling.h5")["ceiling_r2"]
    assert best[:16].mean() > 0.6 > np.nanmean(best[16:]) + 0.2
    assert np.isnan(best[[DEAD, BROKEN]]).all()
    assert np.isfinite(np.delete(best, [DEAD, BROKEN])).all()


@pytest.mark.parametrize("n_repeated", [0, 1, 2])
def test_with_too_few_repetitions_there_is_no_ceiling_rather_than_a_wrong_one(toy, tmp_path, n_repeated):
    table = storage.read_table(toy.subject / "split.tsv")
    first = ~table.duplicated("stimulus_id") | table["stimulus_id"].isin([f"s{i:03d}" for i in range(n_repeated)])
    storage.write_table(
        tmp_path / "split.tsv", table.assign(test_fold=table["test_fold"].where(first, -2)), index=False
    )
    found = estimated(toy, tmp_path / "ceiling.h5", split=tmp_path / "split.tsv")
    assert all(np.isnan(values).all() for values in found.values())
    unit = storage.load_maps(tmp_path / "ceiling.h5")["ceiling_r2"].unit
    assert unit == "too few stimuli repeat"


def test_a_few_training_stimuli_shown_twice_do_not_outvote_the_test_stimuli(toy, tmp_path):
    table = storage.read_table(toy.subject / "split.tsv")
    first = ~table.duplicated("stimulus_id") | table["stimulus_id"].isin(["s000", "s001", "s002", "s003"])
    kept = first | (table["test_fold"] == 0)
    storage.write_table(tmp_path / "split.tsv", table.assign(test_fold=table["test_fold"].where(kept, -2)), index=False)
    estimated(toy, tmp_path / "ceiling.h5", split=tmp_path / "split.tsv")
    assert storage.read_provenance(tmp_path / "ceiling.h5")["parameters"]["rows_used"] == "test"


def test_the_file_says_whose_repetitions(toy):
    made = storage.read_provenance(toy.subject / "ceiling.h5")["parameters"]
    assert made["rows_used"] == "train"
    # One trial is empty: at most, and nearly, three repetitions of a test stimulus.
    assert 2.9 < made["n_repetitions"] <= 3
    assert storage.load_maps(toy.subject / "ceiling.h5")["ceiling_correlation"].unit == "Pearson r"
