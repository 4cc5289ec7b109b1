"""clean_responses: training samples alone decide the scale; what cannot be used is masked and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.types import DataError
from pipelines.clean_responses import clean_responses
from tests.pipelines.conftest import BROKEN, DEAD, EMPTY_ROW
from tests.pipelines.toy_steps import changed_responses

PARAMETERS = {"within": "session", "detrend": 1, "zscore": True}


def cleaned(toy, output, raw=None, **parameters):
    raw = raw or toy.subject / "responses-raw.h5"
    files = (output / "responses.h5", output / "quality.json")
    clean_responses(raw, toy.subject / "split.tsv", {**PARAMETERS, **parameters}, *files)
    return storage.load_responses(files[0]), storage.read_json(files[1])


def test_training_rows_have_no_mean_no_trend_and_unit_variance_in_each_session(toy):
    responses = storage.load_responses(toy.subject / "responses.h5")
    training = (storage.read_table(toy.subject / "split.tsv")["test_fold"] == -1).to_numpy()
    session = responses.samples["session"].to_numpy()
    usable = np.delete(np.arange(24), [DEAD, BROKEN])
    for name in np.unique(session):
        position = np.flatnonzero(session == name)
        rows = position[training[position] & (position != EMPTY_ROW)]
        values = responses.values[rows][:, usable]
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)
        np.testing.assert_allclose(np.polyfit(rows, values, 1)[0], 0, atol=1e-5)


def test_test_rows_change_no_training_row_and_training_rows_do(toy, tmp_path):
    tested = (storage.read_table(toy.subject / "split.tsv")["test_fold"] == 0).to_numpy()
    before = storage.load_responses(toy.subject / "responses.h5").values
    for rows, equal in ((tested, True), (~tested, False)):
        raw = changed_responses(toy.subject / "responses-raw.h5", tmp_path / "raw.h5", rows)
        after, _ = cleaned(toy, tmp_path, raw)
        np.testing.assert_array_equal(np.array_equal(before[~rows], after.values[~rows], equal_nan=True), equal)


def test_dead_and_incomplete_targets_are_nan_and_counted(toy):
    values = storage.load_responses(toy.subject / "responses.h5").values
    quality = storage.read_json(toy.subject / "quality.json")
    assert np.isnan(values[:, [DEAD, BROKEN]]).all()
    assert np.isnan(values[EMPTY_ROW]).all()
    assert np.isfinite(np.delete(np.delete(values, [DEAD, BROKEN], axis=1), EMPTY_ROW, axis=0)).all()
    counts = {key: quality[key] for key in quality if key.startswith("n_")}
    assert counts == {
        "n_samples": 180,
        "n_targets": 24,
        "n_nan_samples": 1,
        "n_nan_targets": 1,
        "n_constant_targets": 1,
        "n_duplicate_samples": 0,
        "n_unusable_targets": 2,
        "n_training_samples": 135,
        "n_stimuli": 60,
    }
    assert quality["folds"] == {"-1": 135, "0": 45}


def test_without_cleaning_numbers_stay_as_measured(toy, tmp_path):
    raw = storage.load_responses(toy.subject / "responses-raw.h5")
    responses, quality = cleaned(toy, tmp_path, within=None, detrend=None, zscore=False)
    usable = np.delete(np.arange(24), [DEAD, BROKEN])
    np.testing.assert_array_equal(responses.values[:, usable], raw.values[:, usable])
    assert np.isnan(responses.values[:, [DEAD, BROKEN]]).all()
    assert responses.units == quality["units"] == "a.u."


def test_nothing_usable_is_refused(toy, tmp_path):
    raw = storage.load_responses(toy.subject / "responses-raw.h5")
    storage.save_responses(tmp_path / "raw.h5", replace(raw, values=np.zeros_like(raw.values)))
    with pytest.raises(DataError, match="every target is dead or holds NaN"):
        cleaned(toy, tmp_path, tmp_path / "raw.h5")
