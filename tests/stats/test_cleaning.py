from __future__ import annotations

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import signal

from brainenc.core.types import DataError
from brainenc.stats import cleaning, metrics, splits


def _sessions(n=40, n_sessions=3, t=9, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"ses-{i}" for i in range(n_sessions)], n)
    values = rng.standard_normal((labels.size, t)) * rng.uniform(0.1, 9, t)
    values += np.repeat(rng.standard_normal((n_sessions, t)) * 50, n, axis=0)
    return values + np.tile(np.arange(n), n_sessions)[:, None] * rng.standard_normal(t), labels


def test_equals_scipy_detrend_and_nilearn():
    from nilearn.signal import clean

    values, labels = _sessions()
    cleaned, report = cleaning.clean_sessions(values, labels)
    wanted = signal.detrend(values[:40], axis=0)
    assert_allclose(cleaned[:40], wanted / wanted.std(axis=0), rtol=1e-8, atol=1e-9)
    runs = np.repeat([0, 1, 2], 40)
    nilearn = clean(values, runs=runs, detrend=True, standardize="zscore_sample", ensure_finite=False)
    assert_allclose(cleaned, nilearn * np.sqrt(40 / 39), atol=1e-6)
    assert report["source"].eq("all rows").all() and report["n_statistics"].eq(40).all()


@pytest.mark.parametrize("order", [None, 0, 1, 3])
def test_polynomials_vanish_and_moments_are_unit(order):
    values, labels = _sessions()
    time = np.random.default_rng(1).uniform(0, 500, labels.size)
    cleaned, _ = cleaning.clean_sessions(values, labels, time=time, order=order)
    for session in np.unique(labels):
        part = cleaned[labels == session]
        assert_allclose(part.mean(axis=0), 0, atol=1e-9)
        assert_allclose(part.std(axis=0), 1, rtol=1e-9)
        for power in range((order or 0) + 1):
            assert np.abs((time[labels == session] / 500) ** power @ part).max() < 1e-7
    again, _ = cleaning.clean_sessions(cleaned, labels, time=time, order=order)
    assert_allclose(again, cleaned, atol=1e-9)  # cleaning twice changes nothing
    centred, _ = cleaning.clean_sessions(values, labels, order=0, zscore=False)
    assert_allclose(centred[:40], values[:40] - values[:40].mean(axis=0), atol=1e-9)


def test_statistics_come_from_training_rows_only():
    """Whatever test rows hold, training rows come out the same; a twin that fits all rows fails this."""
    values, labels = _sessions()
    training = np.random.default_rng(2).random(labels.size) < 0.7
    poisoned = np.where(training[:, None], values, 1e3 + 7 * values)

    def leaks(**arguments):
        a, b = (cleaning.clean_sessions(v, labels, **arguments)[0][training] for v in (values, poisoned))
        return not np.allclose(a, b)

    assert not leaks(training=training)
    assert leaks()
    cleaned, _ = cleaning.clean_sessions(values, labels, training=training)
    for session in np.unique(labels):
        assert_allclose(cleaned[training & (labels == session)].std(axis=0), 1, rtol=1e-9)


def test_a_session_without_training_rows_uses_its_own_and_says_so():
    values, labels = _sessions()
    training = labels != "ses-2"
    cleaned, report = cleaning.clean_sessions(values, labels, training=training)
    assert report["source"].to_dict() == {"ses-0": "training", "ses-1": "training", "ses-2": "own rows"}
    assert_allclose(cleaned[labels == "ses-2"].std(axis=0), 1)


def test_nan_is_ignored_one_by_one(tiny_chunks, tmp_path):
    values, labels = _sessions(t=23)
    rng = np.random.default_rng(3)
    values[5] = np.nan
    values[rng.random(values.shape) < 0.03] = np.nan
    values[:, 7] = np.nan
    cleaned, report = cleaning.clean_sessions(values, labels)
    assert np.array_equal(np.isnan(cleaned), np.isnan(values))
    for column in (0, 11, 22):  # one target alone, its rows with NaN left out
        rows = np.isfinite(values[:, column])
        alone, _ = cleaning.clean_sessions(
            values[rows][:, [column]], labels[rows], time=np.tile(np.arange(40), 3)[rows]
        )
        assert_allclose(cleaned[rows, column], alone[:, 0], rtol=1e-9, atol=1e-10)
    assert report["n_unfitted"].eq(1).all()
    with h5py.File(tmp_path / "y.h5", "w") as file:
        stored = file.create_dataset("y", data=values, chunks=(50, 6))
        assert_allclose(cleaning.clean_sessions(stored, labels)[0], cleaned)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dead_targets_are_zero_not_amplified_rounding(dtype):
    values, labels = _sessions()
    values[:, 2] = 0.1
    values[labels == "ses-1", 4] = 1e4
    values[:, 6] = np.tile(np.arange(40), 3) * 0.3 + 11  # a pure ramp has nothing left either
    before = values.astype(dtype)
    cleaned, report = cleaning.clean_sessions(before, labels)
    assert cleaned.dtype == dtype and np.array_equal(before, values.astype(dtype))
    assert (cleaned[:, [2, 6]] == 0).all() and (cleaned[labels == "ses-1", 4] == 0).all()
    assert report["n_constant"].tolist() == [2, 3, 2]
    assert np.isnan(metrics.correlation(cleaned, before)[2])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"order": 1, "sessions": np.arange(120)}, "lower the order"),
        ({"order": -1}, "whole number"),
        ({"time": np.full(120, np.nan)}, "must be finite"),
        ({"training": np.ones(120)}, "must be bool"),
        ({"sessions": np.zeros(7)}, "one value per sample"),
    ],
)
def test_refusals(arguments, text):
    values, labels = _sessions()
    with pytest.raises(DataError, match=text):
        cleaning.clean_sessions(values, **{"sessions": labels, **arguments})


# --- drift confound: planted row with three broken twins --------------------------------------------------------------
def _drift_only(seed: int):
    """P(face) rises within every session and responses drift upwards; no target responds to faces."""
    rng = np.random.default_rng(seed)
    sessions, time = np.repeat(np.arange(6), 500), np.tile(np.linspace(0, 1, 500), 6)
    face = (rng.random(3000) < 0.3 + 0.6 * time).astype(float)
    return 1.2 * time[:, None] + rng.standard_normal((3000, 100)), face, sessions


def _category_model(Y, face, fold):
    """Least squares on one column, trained outside the fold; mean correlation over folds and targets."""
    Y_hat = np.empty_like(Y)
    for k in np.unique(fold):
        train = fold != k
        slope = np.cov(face[train], Y[train], rowvar=False, ddof=0)[0, 1:] / face[train].var()
        Y_hat[~train] = face[~train, None] * slope + Y[train].mean(axis=0)
    return metrics.by_fold(metrics.correlation, Y, Y_hat, fold).mean()


def test_detrending_removes_the_drift_confound_and_session_folds_do_not():
    Y, face, sessions = _drift_only(0)
    random = splits.by_stimulus(np.arange(3000).astype(str), n_folds=6, seed=0).test_fold
    cleaned, _ = cleaning.clean_sessions(Y, sessions, order=1)
    centred, _ = cleaning.clean_sessions(Y, sessions, order=0)

    def passes(r):
        return abs(r) <= 0.03

    assert passes(_category_model(cleaned, face, random)) and passes(_category_model(cleaned, face, sessions))
    assert not passes(_category_model(Y, face, random))
    assert not passes(_category_model(Y, face, sessions))  # every session has the same trend: folds do not protect
    assert not passes(_category_model(centred, face, sessions))  # nor does z-scoring alone


# --- quality ----------------------------------------------------------------------------------------------------------
def test_quality_masks_counts_and_names(tiny_chunks):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 50)).astype(np.float32)
    values[4] = np.nan
    values[:, 10], values[3, 20], values[:, 30] = 0, np.inf, np.nan
    values[[12, 25]] = values[7]
    result = cleaning.quality(values)
    assert np.flatnonzero(result.nan_samples).tolist() == [4]
    assert np.flatnonzero(result.nan_targets).tolist() == [20, 30]
    assert np.flatnonzero(result.constant_targets).tolist() == [10]
    assert {i: d for i, d in enumerate(result.duplicate_of.tolist()) if d >= 0} == {12: 7, 25: 7}
    assert result.counts() == {
        "n_samples": 30,
        "n_targets": 50,
        "n_nan_samples": 1,
        "n_nan_targets": 2,
        "n_constant_targets": 1,
        "n_duplicate_samples": 2,
    }
    assert result.usable_targets.sum() == 47 and result.usable_samples.sum() == 29
    assert "1 samples are all NaN, 2 targets hold NaN, 1 targets are constant" in result.sentence()
    assert "(rows 12, 25)" in result.sentence()
    assert not cleaning.quality(np.full((3, 2), np.nan)).usable_targets.any()
    kept = values[result.usable_samples][:, result.usable_targets]
    assert np.isfinite(kept).all() and cleaning.quality(kept).usable_targets.all()


def test_row_digests_are_equal_only_for_equal_rows(tiny_chunks):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((20, 300))
    values[9] = values[2]
    values[3, 299] = values[2, 299]
    values[5], values[6] = np.nan, np.nan
    digests = cleaning.row_digests(values)
    assert digests[9] == digests[2] and len(set(digests)) == 19
    assert cleaning.row_digests([[0.0, 1.0]])[0] == cleaning.row_digests([[-0.0, 1.0]])[0]
    assert cleaning.row_digests([[1.0, 2.0]])[0] != cleaning.row_digests([[2.0, 1.0]])[0]
