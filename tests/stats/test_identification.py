"""Identification equals a slow loop, meets its closed form, and does not depend on how its targets are read."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from brainenc.core.stored import scratch
from brainenc.core.types import DataError
from brainenc.stats import chunks, identification


def _slow_identification(Y, Y_hat, labels, fold):
    hits, beaten = [], []
    for k in np.unique(fold):
        rows = fold == k
        kinds = sorted(set(labels[rows]))
        candidates = {kind: Y_hat[rows][labels[rows] == kind].mean(axis=0) for kind in kinds}
        for y, label in zip(Y[rows], labels[rows], strict=True):
            r = {kind: stats.pearsonr(y, candidates[kind]).statistic for kind in kinds}
            hits.append(max(r, key=r.get) == label)
            beaten.append(np.mean([r[label] > r[other] for other in kinds if other != label]))
    return np.mean(hits), np.mean(beaten)


def test_identification_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    labels = np.tile(list("abcdefgh"), 6)
    fold = np.repeat(np.arange(3), 16)
    truth = rng.standard_normal((8, 30))
    Y = np.tile(truth, (6, 1)) + 3 * rng.standard_normal((48, 30))
    Y_hat = np.tile(truth, (6, 1)) + rng.standard_normal((48, 30))
    result = identification.identification(Y, Y_hat, labels, fold)
    hits, beaten = _slow_identification(Y, Y_hat, labels, fold)
    assert result.top1 == pytest.approx(hits) and result.pairwise == pytest.approx(beaten)
    assert result.chance == pytest.approx(1 / 8) and result.n_targets == 30
    assert identification.k_way(result.rank, result.n_candidates, 2).mean() == pytest.approx(beaten)


def test_identification_meets_its_closed_form(simulate):
    """Pairwise about Phi(r sqrt(V / 2)); top-1 the integral of phi(x - r sqrt V) Phi(x)^(M - 1)."""
    V, M = 60, 100
    pairwise, top1 = [], []
    for seed in range(8):
        data = simulate(np.full(V, 0.25), n_stimuli=M, n_repetitions=1, seed=seed)
        result = identification.identification(data.values, data.signal, data.stimulus_ids)
        pairwise.append(result.pairwise)
        top1.append(result.top1)
    d = np.sqrt(0.25**2 / (1 + 0.25**2)) * np.sqrt(V)
    wanted = integrate.quad(lambda x: stats.norm.pdf(x - d) * stats.norm.cdf(x) ** (M - 1), -8, 12)[0]
    assert np.mean(pairwise) == pytest.approx(stats.norm.cdf(d / np.sqrt(2)), abs=0.02)
    assert np.mean(top1) == pytest.approx(wanted, abs=0.04)


def test_identification_of_noise_is_at_chance_and_ties_are_shared():
    rng = np.random.default_rng(1)
    Y, Y_hat = rng.standard_normal((2, 400, 10))
    result = identification.identification(Y, Y_hat, np.arange(400), np.repeat(np.arange(50), 8))
    assert abs(result.pairwise - 0.5) < 0.04 and abs(result.top1 - 0.125) < 0.05
    same = np.tile(Y_hat[:1], (8, 1))  # eight equal candidates: nothing is known, chance must come out
    tied = identification.identification(Y[:8], same, np.arange(8))
    assert tied.top1 == pytest.approx(1 / 8) and tied.pairwise == pytest.approx(0.5)


def test_identification_masks_nan_targets_and_names_faults():
    rng = np.random.default_rng(1)
    Y, Y_hat = rng.standard_normal((2, 6, 5))
    Y[0, 2] = np.nan
    assert identification.identification(Y, Y_hat, list("abcabc")).n_targets == 4
    with pytest.raises(DataError, match="at least two candidates"):
        identification.identification(Y, Y_hat, list("aaaaaa"))
    with pytest.raises(DataError, match="constant over targets"):
        identification.identification(np.ones((6, 5)), Y_hat, list("abcabc"))
    with pytest.raises(DataError, match="choose a smaller k"):
        identification.k_way([1.0], [3], 4)


def test_patterns_wider_than_memory_give_the_same_ranks(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    labels, fold = np.tile(list("abcd"), 6), np.repeat([0, 1, -1], 8)
    Y, Y_hat = rng.standard_normal((2, 24, 100)).astype(np.float32)
    Y[9, 30], Y[20, 40] = np.nan, np.nan  # the second is in a row that is never tested
    targets = rng.random(100) < 0.7
    targets[[30, 40]] = True
    whole = identification.identification(Y[:, targets], Y_hat[:, targets], labels, fold)
    assert whole.n_targets == targets.sum() - 1
    stored = [scratch(tmp_path / "x", values.shape) for values in (Y, Y_hat)]
    stored[0][:, :], stored[1][:, :] = Y, Y_hat
    monkeypatch.setattr(identification, "KEPT_BYTES", 0)
    monkeypatch.setattr(identification, "target_chunks", lambda values: chunks.target_chunks(values, 24 * 8 * 7))
    streamed = identification.identification(*stored, labels, fold, targets)
    np.testing.assert_array_equal(streamed.rank, whole.rank)
    assert (streamed.n_targets, streamed.top1) == (whole.n_targets, whole.top1)
    others = identification.identification(*stored, labels, fold, ~targets)  # the broken twin: the other targets
    assert not np.array_equal(others.rank, whole.rank, equal_nan=True)
