"""Samples as encoders see them: what is exchangeable when scores are tested and resampled."""

from __future__ import annotations

import numpy as np

from brainenc.core.spaces import ParcelSpace
from brainenc.stats.significance import permutation_p_values
from brainenc.stats.splits import Split
from pipelines.samples import Samples


def samples_of(ids: np.ndarray, test_fold: np.ndarray, Y: np.ndarray) -> Samples:
    split = Split(test_fold, np.unique(ids, return_inverse=True)[1])
    space = ParcelSpace(tuple(f"p{i}" for i in range(Y.shape[1])))
    return Samples(Y, ids, split, None, np.ones(len(ids), int), space, "z")


def test_single_rows_neighbours_or_repetitions():
    Y = np.zeros((6, 2))
    ids = np.array(["a", "b", "c", "a", "b", "c"], object)
    once = samples_of(np.array(list("abcdef"), object), np.array([-1, 0, 0, 0, 0, 0]), Y)
    assert once.blocks(1) is None
    assert once.blocks(2).tolist() == [0, 1, 1, 2, 2]
    again = samples_of(ids, np.array([-1, 0, 0, -1, 0, 0]), Y)
    assert again.blocks(1).tolist() == ["b", "c", "b", "c"]
    assert samples_of(ids, np.array([0, 0, 0, 1, 1, 1]), Y).blocks(1) is None  # once in each fold
    assert samples_of(ids, np.array([0, -1, -1, 0, -1, -1]), Y).blocks(1) is None  # a single stimulus


def test_repetitions_of_unrelated_features_are_not_called_significant():
    generator = np.random.default_rng(0)
    n_stimuli, n_repetitions, n_targets = 40, 3, 600
    ids = np.repeat([f"s{i:02d}" for i in range(n_stimuli)], n_repetitions).astype(object)
    code = np.repeat(np.arange(n_stimuli), n_repetitions)
    Y = generator.normal(size=(n_stimuli, n_targets))[code] + generator.normal(size=(len(ids), n_targets))
    Y_hat = generator.normal(size=(n_stimuli, n_targets))[code]
    blocks = samples_of(ids, np.zeros(len(ids), int), Y).blocks(1)
    found = np.mean(permutation_p_values(Y, Y_hat, 199, seed=0, blocks=blocks) < 0.05)
    assert found < 0.08
    assert np.mean(permutation_p_values(Y, Y_hat, 199, seed=0) < 0.05) > 0.08  # the broken twin: rows as units
