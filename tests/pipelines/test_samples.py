"""Samples as encoders see them: what is exchangeable when scores are tested and resampled."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd

from brainenc.core import storage
from brainenc.core.align import average_repetitions
from brainenc.core.spaces import ParcelSpace
from brainenc.core.stored import Hdf5Matrix
from brainenc.stats.chunks import target_chunks
from brainenc.stats.significance import permutation_p_values
from brainenc.stats.splits import Split
from pipelines import samples as steps_samples
from pipelines.samples import Samples, make_split


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


def test_a_test_film_seen_in_several_runs_leaves_runs_as_inner_groups():
    """Neighbours in time share noise, so a run of training volumes stays together when penalties are chosen."""
    films = ["a", "b", "test", "c", "test"]
    ids = np.array([f"{film}-{k}" for film in films for k in range(4)], object)
    run = np.repeat(np.arange(5), 4)
    table = pd.DataFrame({"split": ["test" if name.startswith("test") else "train" for name in ids]}, index=ids)
    split = make_split({"class": "column"}, table[~table.index.duplicated()], ids, ids, run)
    train, test = next(iter(split.folds()))
    assert run[test].tolist() == [2] * 4 + [4] * 4
    groups = {tuple(run[train][split.group[train] == group]) for group in set(split.group[train])}
    assert groups == {(0,) * 4, (1,) * 4, (3,) * 4}
    # A training stimulus in two runs: then its repetitions must stay together, and runs cannot.
    again = np.where(ids == "b-0", "a-0", ids).astype(object)
    torn = make_split({"class": "column"}, table[~table.index.duplicated()], again, again, run)
    assert len(set(torn.group[torn.test_fold < 0])) == 11


class Watched(Hdf5Matrix):
    """Remembers what was read."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.seen = []

    def read(self, rows, columns):
        self.seen.append((None if rows is None else rows.tolist(), (columns.start, columns.stop)))
        return super().read(rows, columns)


def test_only_rows_that_were_empty_so_far_are_looked_at_again(tmp_path, monkeypatch):
    values = np.ones((5, 6), np.float32)
    values[1], values[3, :4], values[4] = np.nan, np.nan, np.inf
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("values", data=values, chunks=(5, 2))
    watched = Watched(h5py.File(tmp_path / "x.h5", "r")["values"], tmp_path / "x.h5")
    monkeypatch.setattr(steps_samples, "target_chunks", lambda matrix: target_chunks(matrix, 1))
    assert steps_samples._measured_rows(watched).tolist() == [True, False, True, True, False]
    assert watched.seen == [([0, 1, 2, 3, 4], (0, 2)), ([1, 3, 4], (2, 4)), ([1, 3, 4], (4, 6))]
    full = np.ones((5, 6), np.float32)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("values", data=full, chunks=(5, 2))
    watched = Watched(h5py.File(tmp_path / "y.h5", "r")["values"], tmp_path / "y.h5")
    assert steps_samples._measured_rows(watched).all() and len(watched.seen) == 1


def test_samples_on_disk_are_the_kept_rows_averaged(toy, tmp_path):
    measured = storage.load_responses(toy.subject / "responses.h5")
    split = storage.read_table(toy.subject / "split.tsv")
    kept = np.isfinite(measured.values).any(axis=1)
    single, averaged = (
        steps_samples.load_samples(toy.subject / "responses.h5", toy.subject / "split.tsv", average)
        for average in (False, True)
    )
    np.testing.assert_array_equal(single.Y, measured.values[kept])
    means, ids, counts = average_repetitions(measured.values[kept], measured.stimulus_ids[kept])
    np.testing.assert_array_equal(averaged.Y, means)
    assert averaged.stimulus_ids.tolist() == ids.tolist() and averaged.n_repetitions.tolist() == counts.tolist()
    tested = (split["test_fold"] >= 0).to_numpy()[kept]
    np.testing.assert_array_equal(single.held_out(tmp_path / "x"), measured.values[kept][tested])
    assert list(tmp_path.iterdir()) == []
